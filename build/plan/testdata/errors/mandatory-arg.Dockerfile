FROM alpine
ARG V
ENV X="${V:?must be given}"
