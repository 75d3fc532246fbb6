package shared

import (
	"context"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// place is where an artifact is kept.
type place interface {
	// open finds the artifact. The error is content.ErrNotFound if there is none.
	open(ctx context.Context) (opened, error)
	// begin begins to write to the place.
	begin(ctx context.Context, o SaveOptions) (writer, error)
}

// opened is an artifact to read from. The caller calls close.
type opened struct {
	content.Fetcher
	root  ocispec.Descriptor
	close func()
}

// writer brings blobs and an artifact into a place.
type writer interface {
	// layer brings a layer there and describes its blob.
	layer(ctx context.Context, l export.Blob) (ocispec.Descriptor, error)
	// blob brings a blob there, unless it is there.
	blob(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error
	// holds tells whether a blob is there.
	holds(ctx context.Context, d ocispec.Descriptor) (bool, error)
	// put makes an artifact what the place holds. It has all blobs that the artifact names. The error is
	// objects.ErrChanged if the place knows that another writer was faster.
	put(ctx context.Context, a artifact) error
	// end shows how it ended.
	end(ctx context.Context, err error)
}

// at is the place that a spec names.
func (r *Room) at(s sharedcache.Spec) place {
	switch s.Type {
	case sharedcache.Local:
		return directory{s, r}
	case sharedcache.HTTP, sharedcache.S3, sharedcache.GHA:
		return &cupboard{spec: s, room: r}
	case sharedcache.Registry, sharedcache.Inline: // the last one is no place of its own, and never asked for
	}
	return repository{s, r}
}
