#!/bin/sh
# Builds cooper with cooper, twice, and says how long each build took. The second one, after a change to one source
# file, compiles one package: the modules and the compiler's results come from cache mounts.
#   sh contrib/examples/self/build.sh [COOPER]      (default: bin/cooper)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
tree=$(cd "$here/../../.." && pwd)
cooper=$(realpath "${1:-$tree/bin/cooper}")
name=localhost/cooper
PATH=$PATH:/usr/local/go/bin

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Where the distributions keep the bundle of CA certificates.
bundle=
for file in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	if [ -n "$file" ] && [ -f "$file" ]; then
		bundle=$file
		break
	fi
done
busybox=$(command -v busybox.static || command -v busybox || true)
if [ -z "$bundle" ] || [ -z "$busybox" ]; then
	echo "build.sh: needs a static busybox and a bundle of CA certificates (package ca-certificates); run contrib/setup.sh" >&2
	exit 1
fi
mkdir "$work/programs" "$work/certs" "$work/src"
cp -L "$busybox" "$work/programs/busybox"
cp -L "$bundle" "$work/certs/ca-certificates.crt"

# The context is a copy of the sources, so that a file of it can be changed below. The Go tool chain needs no copy: a
# named context may be big, since only what a step names is read.
(cd "$tree" && tar -cf - --exclude=./.git --exclude=./bin .) | tar -xf - -C "$work/src"

build() {
	"$cooper" build -f "$here/Containerfile" -t "$name" \
		--build-context "go=$(go env GOROOT)" \
		--build-context "programs=$work/programs" \
		--build-context "certs=$work/certs" \
		--build-arg "GOPROXY=$(go env GOPROXY)" \
		--build-arg "GOSUMDB=$(go env GOSUMDB)" \
		"$@" "$work/src"
}

now() { date +%s; }

echo "-- cooper builds cooper"
from=$(now)
build
first=$(($(now) - from))

echo "-- and again, after a change to one source file"
printf '\n// changed by build.sh\n' >>"$work/src/cmd/cooper/main.go"
from=$(now)
build
second=$(($(now) - from))

echo "-- the result, taken out of the image and started"
build --output "type=oci,dest=$work/oci,tar=false" >/dev/null
mkdir "$work/rootfs"
for blob in "$work"/oci/blobs/sha256/*; do
	if tar -tf "$blob" >/dev/null 2>&1; then
		tar -xf "$blob" --no-same-owner -C "$work/rootfs"
	fi
done
"$work/rootfs/usr/bin/cooper" version

echo "-- first build: $first s; second build, with the caches: $second s"
