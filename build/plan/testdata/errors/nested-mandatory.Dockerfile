FROM alpine
WORKDIR /${A:-${B:-${C:?three deep}}}
