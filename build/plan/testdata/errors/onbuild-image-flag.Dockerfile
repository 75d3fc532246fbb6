FROM badtrigger2 AS x
RUN true
