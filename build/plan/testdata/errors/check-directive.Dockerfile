# check=foo=bar
FROM alpine
