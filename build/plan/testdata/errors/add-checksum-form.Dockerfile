FROM alpine
ADD --checksum=sha256:aa https://example.com/a /a
