FROM alpine
RUN --mount=type=secret,id=s cat /run/secrets/s
