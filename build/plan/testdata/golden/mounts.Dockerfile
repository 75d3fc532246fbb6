FROM golang AS tools
RUN install
FROM alpine
ARG CACHE=/var/cache
WORKDIR /src
RUN --mount=type=bind,target=. --mount=type=cache,target=/srv/cache,id=go,sharing=locked,mode=0700,uid=1000,gid=1001 go build
RUN --mount=target=/in,source=dir/../sub,rw --mount=from=tools,src=/usr/bin,dst=/tools,ro cp
RUN --mount=type=cache,target=${CACHE} --mount=type=cache,from=tools,source=/seed,target=seed,ro true
RUN --mount=type=tmpfs,target=/tmp,size=64m --mount=type=tmpfs,target=/t true
RUN --mount=type=bind,from=busybox,target=/bb --mount=from=scratch,target=/empty,rw /bb/bin/true
