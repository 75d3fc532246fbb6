FROM alpine AS base
RUN never
FROM base AS mid
COPY --from=assets /a /a
RUN --mount=from=assets,target=/m true
FROM mid
COPY --from=tools /t /t
COPY --from=docker.io/library/busybox:latest /bin/busybox /
