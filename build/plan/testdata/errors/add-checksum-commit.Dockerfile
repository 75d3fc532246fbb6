FROM alpine
ADD --checksum=xyz git@example.com:x /a/
