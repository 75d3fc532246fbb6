FROM alpine
ARG X=arg
ENV X=env
RUN echo $X
ARG X=later
RUN echo $X
