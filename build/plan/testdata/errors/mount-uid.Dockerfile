FROM alpine
RUN --mount=type=bind,target=/x,uid=3 true
