FROM alpine
ARG x
COPY --from=$x a b
