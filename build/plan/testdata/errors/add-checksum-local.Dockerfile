FROM alpine
ADD --checksum=sha256:aa a /a
