FROM alpine
RUN --security=insecure --network=host mount
RUN --security=sandbox true
