# escape=`
# syntax=docker/dockerfile:1
FROM alpine
RUN echo a `
  b
ENV P=`$x Q=c:\dir
COPY a\b c
