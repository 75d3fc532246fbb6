FROM alpine
COPY <<EOF /x
fine
${V:?is needed in the file}
EOF
