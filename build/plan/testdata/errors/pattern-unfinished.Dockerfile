FROM alpine
ENV A=1
WORKDIR /${A/x}
