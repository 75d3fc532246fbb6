FROM alpine
ADD git@example.com:team/repo.git /a
