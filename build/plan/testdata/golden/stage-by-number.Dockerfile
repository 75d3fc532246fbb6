FROM alpine
RUN one
FROM 0
RUN two
