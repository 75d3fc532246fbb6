FROM alpine
RUN --mount=type=ssh,source=/x true
