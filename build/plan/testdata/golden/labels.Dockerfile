FROM alpine
ARG v=1.2
LABEL a=1 "b c"="d e" version="$v"
LABEL multi="one \
two" a=2
LABEL legacy some words
