FROM rootfs
RUN true
FROM rootfs AS dir
RUN never
FROM scratch
COPY --from=dir /x /x
COPY --from=0 /y /y
