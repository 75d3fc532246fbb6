# check=experimental=all
# the version
ARG VERSION=1
FROM scratch as Tools
ENV token abc
COPY hidden/secret \

     $undefined \
     /

FROM scratch
EXPOSE 127.0.0.1:80:80/TCP
CMD run
CMD run <b>&amp;
