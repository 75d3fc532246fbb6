FROM alpine
RUM echo hi
