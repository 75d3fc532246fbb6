FROM --platform=linux/s390x multi AS other
RUN uname -m
FROM --platform=linux/s390x scratch
COPY --from=other /x /x
RUN ["/x"]
