ARG X
RUN true
FROM alpine
