FROM busybox AS busybox
FROM BusyBox AS second
FROM alpine@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS digest
FROM alpine:3.20@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef AS both
FROM docker.io/library/alpine:3.20 AS full
FROM SECOND AS upper
FROM scratch AS scratch
FROM alpine AS context
FROM --platform=$BUILDPLATFORM alpine AS alpine
FROM upper
COPY --from=digest / /
COPY --from=both / /
COPY --from=FULL / /
COPY --from=scratch / /
COPY --from=context / /
COPY --from=alpine / /
COPY --from=alpine:latest / /
