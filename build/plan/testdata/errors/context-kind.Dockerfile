FROM alpine AS build
COPY --from=src / /
