FROM alpine
RUN --mount=type=secret,id=a,sharing=locked true
