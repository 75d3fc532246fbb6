FROM alpine
RUN --mount=type=secret,id=a,target=/ true
