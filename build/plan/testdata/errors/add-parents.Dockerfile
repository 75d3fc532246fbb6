FROM scratch
ADD --parents a /
