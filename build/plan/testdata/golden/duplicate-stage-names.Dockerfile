FROM alpine AS x
RUN first
FROM busybox AS x
COPY --from=x /a /a
FROM x
RUN last
