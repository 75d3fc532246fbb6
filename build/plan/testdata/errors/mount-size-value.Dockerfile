FROM alpine
RUN --mount=type=tmpfs,target=/x,size=many true
