FROM alpine
ARG ID=token
WORKDIR /src
RUN --mount=type=secret,id=token use
RUN --mount=type=secret,target=/home/app/.aws/credentials,required use
RUN --mount=type=secret,source=aws/key,dst=rel/key,mode=0440,uid=1,gid=2,required=false use
RUN --mount=type=secret,id=a/b use
RUN --mount=type=secret,id=${ID},env=TOKEN use $TOKEN
RUN --mount=type=secret,id=both,env=BOTH,target=/both use
RUN --mount=type=ssh --mount=type=ssh,id=other,mode=0666,uid=1000 --mount=type=ssh,id=x,target=agent,required clone
ENV SSH_AUTH_SOCK=/mine
RUN --mount=type=ssh,target=/sock clone
RUN --mount=type=secret,id=s <<EOF
use
EOF
