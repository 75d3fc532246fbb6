FROM alpine
ADD --checksum=abc https://u:hunter2@example.com/x.git?checksum=def /a/
