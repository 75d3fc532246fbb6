FROM alpine
ARG who=app
COPY --chown=$who:staff --chmod=u=rwX,go=rX a b* /dest/
COPY --chown=1000 ["with space", "x", "/dest/"]
ADD --chmod=755 archive.tar.gz /
ADD --unpack=false archive.tar.gz /keep/
COPY --link=false a .
