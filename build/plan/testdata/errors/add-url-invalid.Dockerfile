FROM alpine
ADD https:///a /a
