# GLOBAL is first one thing
ARG GLOBAL=1
# GLOBAL is then another
ARG GLOBAL=2
FROM scratch AS below
# V is of the stage below
ARG V=below
ARG BASE=1
FROM below
# V is first
ARG V=1
# V is then what counts
ARG V=2 \
    W=3
ARG GLOBAL
# GLOBAL is at last the stage's own
ARG GLOBAL=3
# GIVEN comes from outside
ARG GIVEN=1
ARG GIVEN=2
ARG V
