FROM scratch
COPY --link --chown=app:0 a /
