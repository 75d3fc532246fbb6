FROM alpine
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
RUN echo one | cat
CMD serve
ENTRYPOINT go
