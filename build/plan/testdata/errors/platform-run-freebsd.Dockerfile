FROM --platform=$BUILDPLATFORM alpine AS build
RUN make
FROM --platform=freebsd/amd64 multi
COPY --from=build /x /x
RUN /x
