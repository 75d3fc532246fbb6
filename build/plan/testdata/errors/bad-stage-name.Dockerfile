FROM alpine AS builder
FROM alpine
COPY --from=Bad_Name:: /a /a
