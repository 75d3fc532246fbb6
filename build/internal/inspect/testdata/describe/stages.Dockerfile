# check=skip=all

# VERSION of the base
ARG VERSION=3

# SUFFIX of its tag
ARG SUFFIX=-slim
ARG TAG=${VERSION}${SUFFIX}
ARG UNUSED

# base is what all stages start from
FROM base:$TAG AS base
# GIVEN comes from outside
ARG GIVEN=inside
ARG VERSION

# test runs the tests
FROM base AS test
ARG LEVEL=1
RUN --mount=type=secret,id=token,required=true --mount=type=secret,target=/etc/key --mount=type=ssh,required=true --security=insecure make test

# second is never used
FROM --platform=$BUILDPLATFORM scratch AS second
ARG NOWHERE=1

FROM base
ARG TARGETARCH
ARG LEVEL=2
COPY --from=test / /
