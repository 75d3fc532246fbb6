FROM alpine
ENV NAME=world
COPY <<EOF <<'RAW' /etc/
hello $NAME "quoted"
EOF
hello $NAME
RAW
COPY --chmod=0755 <<-run.sh extra /usr/bin/
	#!/bin/sh
	echo $NAME
	run.sh
ADD <<a.txt /a.txt
x
a.txt
