FROM alpine
HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --start-interval=500ms --retries=3 CMD curl -f http://localhost/ || exit 1
HEALTHCHECK CMD ["/check", "now"]
FROM appbase
HEALTHCHECK NONE
