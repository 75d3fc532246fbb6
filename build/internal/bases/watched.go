package bases

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/registry/content"
)

// Watched is a transfer of which somebody is told, by begins, before it brings anything into the store.
func Watched(t Transfer, begins func()) Transfer { return watched{t, begins} }

type watched struct {
	Transfer
	begins func()
}

// Pull brings an image of a registry.
func (w watched) Pull(ctx context.Context, ref string, o pull.Options) (images.Found, error) {
	w.begins()
	return w.Transfer.Pull(ctx, ref, o)
}

// Copy brings an image of a layout.
func (w watched) Copy(ctx context.Context, src content.Fetcher, root ocispec.Descriptor,
	o pull.CopyOptions) (images.Found, error) {
	w.begins()
	return w.Transfer.Copy(ctx, src, root, o)
}
