FROM alpine AS plain
RUN fetch
FROM plain
ARG HTTP_PROXY
RUN fetch
