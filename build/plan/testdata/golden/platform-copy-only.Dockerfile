FROM scratch
WORKDIR /app
COPY app .
CMD ["/app/app"]
