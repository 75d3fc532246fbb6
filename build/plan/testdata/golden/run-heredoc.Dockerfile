FROM alpine
RUN <<EOF
echo one
echo $TWO
EOF
RUN <<-EOF
	echo indented
	EOF
RUN <<SCRIPT
#!/usr/bin/env python3
print("hi")
SCRIPT
RUN cat <<ONE >/one && cat <<"TWO" >/two
first $x
ONE
second
TWO
