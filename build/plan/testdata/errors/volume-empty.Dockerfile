FROM alpine
VOLUME $none
