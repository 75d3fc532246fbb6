FROM scratch
COPY --from=busybox:latest /bin/busybox /bin/sh
COPY --from=busybox:latest /etc /etc
COPY --from=alpine /etc/os-release /
