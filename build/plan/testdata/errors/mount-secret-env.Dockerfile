FROM alpine
RUN --mount=type=secret,id=a,env= true
