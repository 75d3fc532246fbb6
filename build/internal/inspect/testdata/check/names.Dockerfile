ARG TAG
FROM busybox:1 AS Foo
FROM Foo
RUN true && \
    true
FROM Bar:$TAG
