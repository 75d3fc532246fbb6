FROM alpine
ADD https://user:hunter2@example.com/x.git?what=x /a
