FROM alpine
ARG HOST=example.com
ARG TOKEN=secret-token
ARG SUM=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
WORKDIR /w
ADD https://$HOST/a/b.tar.gz .
ADD --checksum=$SUM --chown=1:2 --chmod=600 https://$HOST/x%20y?q#f /file
ADD --unpack=true http://$HOST/b.tar /dir/
ADD one https://user:$TOKEN@$HOST/two three git@$HOST:x#main:sub four /dir/
ADD --keep-git-dir --checksum=0123abc https://$TOKEN@$HOST/r.git#v1 /repo
ADD --keep-git-dir=true https://$HOST/r.git?submodules=false&mtime=commit&fetch-by-commit&commit=0123456789012345678901234567890123456789 /repo
ADD file:///srv/r.git ssh://git@$HOST/r /repo
ADD github.com/o/r /local
ADD https://$HOST /unnamed
