FROM alpine
ARG REF=--upload-pack=x
ADD git@example.com:team/repo.git#${REF} /a
