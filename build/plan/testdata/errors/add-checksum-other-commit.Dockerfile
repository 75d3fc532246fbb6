FROM alpine
ADD --checksum=abc git@example.com:x#0123456789012345678901234567890123456789 /a/
