FROM alpine
RUN --mount=type=cache,target=/x,sharing=lock true
