FROM scratch AS One
RUN --mount=type=bind,from=nowhere,target=/x \
    make
COPY --from=Two / /
FROM scratch AS two
