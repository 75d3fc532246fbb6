FROM alpine AS a
COPY --from=c / /
FROM a AS b
RUN true
FROM alpine AS c
RUN --mount=from=b,target=/b true
