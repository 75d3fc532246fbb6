FROM alpine AS me
RUN true
COPY --from=me /a /b
