FROM scratch AS a
COPY --from=7 x /
