FROM alpine
RUN --mount=type=ssh,env=X true
