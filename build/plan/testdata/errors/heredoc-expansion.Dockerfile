FROM alpine
COPY <<EOF /a
one
${oops
EOF
