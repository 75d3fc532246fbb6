#!/bin/sh
# Makes the files of a release: static binaries for amd64 and arm64 with manual pages and completions, the list of modules in them, checksums,
# and the version's section of CHANGELOG.md.
#
#   sh contrib/release.sh VERSION DIRECTORY      e.g. v1.2.0 dist; the directory must be new
#
# The times in the archives are that of the commit, so the same commit and the same Go release give the same bytes.
set -eu

if [ $# -ne 2 ]; then
	echo "usage: sh contrib/release.sh VERSION DIRECTORY" >&2
	exit 2
fi
version=$1
dist=$2
number=${version#v}
cd "$(dirname "$0")/.."
if [ -e "$dist" ]; then
	echo "release: $dist is there already: give a new directory" >&2
	exit 2
fi
notes=$(awk -v want="## [$number]" 'index($0, want) == 1 { on = 1; next } /^## / { on = 0 } on' CHANGELOG.md)
if [ -z "$notes" ]; then
	echo "release: CHANGELOG.md has no section [$number]" >&2
	exit 1
fi
epoch=$(git log -1 --format=%ct)
mkdir -p "$dist"
printf '%s\n' "$notes" >"$dist/NOTES.md"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make --no-print-directory man
for arch in amd64 arm64; do
	name=cooper-$number-linux-$arch
	root=$work/$name
	mkdir -p "$root/man/man1" "$root/completions"
	GOOS=linux GOARCH=$arch make --no-print-directory build VERSION="$version" BIN="$root/cooper" # and cooper-bake
	cp bin/man/*.1 "$root/man/man1/"
	cp LICENSE README.md "$root/"
	for shell in bash zsh fish; do
		go run -tags="$(make -s tags)" -trimpath -buildvcs=false ./cmd/cooper completion "$shell" >"$root/completions/cooper.$shell"
	done
	tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$epoch" -cf - "$name" | gzip -n -9 >"$dist/$name.tar.gz"
done
(cd "$work/cooper-$number-linux-amd64" && go version -m cooper cooper-bake) |
	awk -v version="$version" -v created="$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)" -f contrib/spdx.awk >"$dist/cooper-$number.spdx.json"
(cd "$dist" && sha256sum -- *.tar.gz *.spdx.json >SHA256SUMS)
echo "release: $dist has"
ls -l "$dist"
