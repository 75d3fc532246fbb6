FROM alpine
RUN --mount=type=bind,target=/x,writable true
