FROM alpine
RUN --network=host true
