FROM scratch
COPY --chmod=u=rwx, a /
