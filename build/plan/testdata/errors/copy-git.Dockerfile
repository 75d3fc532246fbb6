FROM alpine
COPY https://example.com/x.git /dir/
