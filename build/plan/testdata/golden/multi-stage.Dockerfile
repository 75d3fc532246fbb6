FROM golang AS build
WORKDIR /src
COPY . .
RUN go build -o /out/app .

FROM golang AS unused
RUN false

FROM scratch
COPY --from=build /out/app /app
COPY --from=0 /etc/passwd /etc/
ENTRYPOINT ["/app"]
