# check=experimental=all;skip=all;error=true
# nothing
ARG A
FROM alpine
