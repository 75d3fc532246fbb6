FROM alpine
ADD https://example.com/ /dir/
