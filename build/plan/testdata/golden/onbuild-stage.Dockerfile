FROM alpine AS tools
RUN tools
FROM alpine AS base
ONBUILD ARG X=1
ONBUILD COPY --from=tools /t /t
ONBUILD RUN <<EOF
heredoc $X
EOF
RUN not-on-build
FROM base AS child
RUN child
FROM child
RUN grandchild
