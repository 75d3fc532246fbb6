ARG V
ARG W="a${V:?must be given}"
FROM alpine:$W
