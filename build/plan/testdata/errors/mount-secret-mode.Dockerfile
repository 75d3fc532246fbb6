FROM alpine
RUN --mount=type=secret,id=a,mode=rw true
