FROM alpine
ARG BASE=busybox
FROM $BASE
