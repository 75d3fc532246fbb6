FROM scratch
COPY --unpack a /
