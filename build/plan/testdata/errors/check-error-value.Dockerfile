# check=error=perhaps
FROM alpine
