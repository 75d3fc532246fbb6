FROM alpine AS base
ONBUILD COPY --from=9 /a /b
FROM base
