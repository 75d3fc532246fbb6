FROM alpine AS one
ARG pattern=x
COPY --link a /dest/
COPY --link=true --chown=root:10 a /dest/
COPY --link --chmod=755 a /dest/
COPY --parents ./x/./y/*.txt z /dest
COPY --parents=true --chmod=g=u --exclude=*.tmp --exclude=!keep.tmp --exclude=$pattern . /dest/
ADD --link --exclude=**/*.md --unpack archive.tar /
ADD --chmod=u=g,a+t,go=u-w,-X a /
