# check=skip=MaintainerDeprecated
FROM alpine as b
maintainer x
ENV password=x
# check=skip=SecretsUsedInArgOrEnv
ENV token=x
RUN --mount=target=/m,source=$undefined true
LABEL x=$pasword
