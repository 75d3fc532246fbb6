FROM alpine
COPY <<../evil /a/
x
../evil
