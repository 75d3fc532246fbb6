FROM alpine
ARG dir=/data
VOLUME $dir /var/log
VOLUME ["/with space", "/data"]
