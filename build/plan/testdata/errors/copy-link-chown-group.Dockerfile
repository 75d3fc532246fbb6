FROM scratch
COPY --link --chmod=755 --chown=0:staff a /
