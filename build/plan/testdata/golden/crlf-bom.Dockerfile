FROM alpine
RUN one
