ARG NAME=alpine
ARG TAG=${UNSET:-3.20}
ARG BOTH="$NAME:${TAG%.*}"
ARG EMPTY=
FROM ${X:-busybox} AS one
FROM $NAME:$TAG AS two
ARG NAME
ARG TAG=stage
ARG EMPTY
RUN echo $NAME $TAG $EMPTY $BOTH
FROM ${BOTH} AS three
FROM ${NAME/alpine/golang} AS four
FROM ${NAME:+busybox}${EMPTY:+nothing} AS five
FROM ${EMPTY:-alpine} AS six
FROM ${EMPTY-busybox}alpine AS seven
FROM "alpine" AS eight
FROM two
COPY --from=one / /
COPY --from=three / /
COPY --from=four / /
COPY --from=five / /
COPY --from=six / /
COPY --from=seven / /
COPY --from=eight / /
