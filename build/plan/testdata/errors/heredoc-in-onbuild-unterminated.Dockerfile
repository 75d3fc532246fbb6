FROM alpine
ONBUILD COPY <<EOF /x
never ends
