FROM alpine
ADD --checksum=abc git@example.com:x b /a/
