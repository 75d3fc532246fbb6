#!/bin/sh
# Builds the hello image with the cooper given as argument, as the calling user, and runs a program of that image.
#   sh contrib/examples/hello/demo.sh bin/cooper
set -eu

cooper=$(realpath "${1:?usage: demo.sh COOPER}")
here=$(cd "$(dirname "$0")" && pwd)
name=localhost/cooper-hello

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

say() { printf '\n-- %s\n' "$*"; }

# The two static programs that the image is made of.
mkdir "$work/programs"
busybox=$(command -v busybox.static || command -v busybox) || {
	echo "demo: a static busybox is missing: run contrib/setup.sh" >&2
	exit 1
}
cp -L "$busybox" "$work/programs/busybox"
(cd "$here" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -o "$work/programs/hello" .)

build() { "$cooper" build -f "$here/Containerfile" --build-context "programs=$work/programs" "$@" "$here"; }

say "building $name as $(id -un), from nothing but a Containerfile and two programs"
build -t "$name"

say "the same build once more, now into a directory in the OCI layout: every step comes from the cache"
build --output "type=oci,dest=$work/oci,tar=false" >/dev/null

# Blobs are layers, one config and one manifest; only layers are archives that tar can read.
mkdir "$work/rootfs"
for blob in "$work"/oci/blobs/sha256/*; do
	if tar -tf "$blob" >/dev/null 2>&1; then
		tar -xf "$blob" --no-same-owner -C "$work/rootfs"
		owner=$(tar --numeric-owner -tvf "$blob" | grep 'srv/data/file$' || true)
		[ -z "$owner" ] || owners=$owner
	fi
done

say "a file that belongs to user 33 in the image, whatever ID it has on this machine's disk:"
echo "${owners:?the image holds no srv/data/file}"
case $owners in
*" 33/33 "*) ;;
*)
	echo "demo: the file should belong to 33/33" >&2
	exit 1
	;;
esac

say "the image's program, unpacked from its layers and started here:"
"$work/rootfs/usr/bin/hello"

if command -v podman >/dev/null 2>&1; then
	say "podman sees the image in the same store, and runs it:"
	podman images --filter "reference=$name"
	# Not every machine can run every runtime: crun, for one, needs cgroups in the new or the old form, not in both.
	podman run --rm --network=none "$name" 2>/dev/null || podman --runtime=runc run --rm --network=none "$name" ||
		echo "(podman could not run it here)"
fi

say "done: $name is in the local image store"
