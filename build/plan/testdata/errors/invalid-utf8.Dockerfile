FROM alpine
RUM ÿþ
