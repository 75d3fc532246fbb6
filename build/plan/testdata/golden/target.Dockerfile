FROM alpine AS one
RUN 1
FROM one AS two
LABEL a=b
RUN 2
FROM two
RUN 3
