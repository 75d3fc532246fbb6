FROM alpine
COPY <<one <<two /
1
one
2
 two
