FROM alpine
ADD --keep-git-dir=false https://example.com/x.git?keep-git-dir=1 /a
