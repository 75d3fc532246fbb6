FROM alpine
COPY --exclude=*.txt a c/
