# check=error=true
FROM alpine AS One
ENV a b
WORKDIR relative
WORKDIR more
ENV c d
