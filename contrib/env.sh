# Source this to run `go build`, `go vet` and `go test` by hand with the settings of the Makefile.
export CGO_ENABLED=0
export GOFLAGS="-tags=containers_image_openpgp,exclude_graphdriver_btrfs,exclude_graphdriver_zfs -trimpath -buildvcs=false"
if [ -x bin/cooper ]; then
	COOPER=$PWD/bin/cooper
	export COOPER
fi
