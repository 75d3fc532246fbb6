FROM alpine
RUN a \
  b
NOPE
