# syntax=docker/dockerfile:1
ARG BASE=multi
FROM --platform=$BUILDPLATFORM golang AS build
RUN go mod download
ARG TARGETOS TARGETARCH TARGETVARIANT
ARG TARGETPLATFORM=ignored BUILDPLATFORM TARGETSTAGE
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app
FROM $BASE AS app
RUN echo no platform variables: $TARGETARCH
COPY --from=build /app /app
COPY --from=multi:tools /tool /tool
FROM app
RUN /app --check
