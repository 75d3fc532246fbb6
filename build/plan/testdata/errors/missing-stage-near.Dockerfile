FROM alpine AS builder
RUN true
FROM scratch
COPY --from=buildr /a /a
