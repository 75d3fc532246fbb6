FROM alpine
RUN --mount=type=cache,target=/x,size=3m true
