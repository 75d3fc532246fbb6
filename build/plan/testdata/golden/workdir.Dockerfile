FROM appbase
WORKDIR sub
WORKDIR ../other/./x
WORKDIR /
WORKDIR rel
USER 1000
WORKDIR /home/app/
RUN pwd
COPY a ./
COPY b .
COPY c x/
COPY d /abs
