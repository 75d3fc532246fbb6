FROM scratch
WORKDIR a
