FROM scratch
ADD --exclude=[a a /
