FROM scratch
COPY --exclude=! a /
