# check=error=true
FROM alpine
WORKDIR relative
