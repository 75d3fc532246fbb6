FROM alpine
RUN ["cat", "<<EOF"]
not a heredoc
EOF
