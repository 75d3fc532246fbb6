package outputs

import (
	"context"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// Images records images in the store.
type Images interface {
	Put(ctx context.Context, r images.Record) (id string, manifest digest.Digest, err error)
	PutIndex(ctx context.Context, r images.IndexRecord) (index digest.Digest, err error)
}

// Finder knows which images had a blob when they were pulled.
type Finder interface {
	Origins(blob digest.Digest) ([]reference.Reference, error)
}

// Layers reads the store's layers, and LayerStream without a lock.
type Layers interface {
	LayerStream(l store.Layer) (io.ReadCloser, error)
	Layer(id string) (store.Layer, error)
	Paths() store.Paths
}

// Options say where the images of a build are recorded and written.
type Options struct {
	Images Images
	Layers Layers
	Cache  *cache.Cache
	Roots  *rootfs.Roots
	// Date replaces times in images; nil: they stay as they are.
	Date *layer.Date
	// Image says what is made of the finished stages.
	Image ImageOptions
	// Format is the format of the images in the store.
	Format imagebuilder.Format
	Specs  []export.Spec
	// Pushes are the pushes of the build; nil: there are none.
	Pushes *Pushes
	// Blobs has compressed layers.
	Blobs *blobs.Room
	// Inline gives the records of steps that an image with the layers has in its config, as JSON; nil: it has none.
	Inline func(ctx context.Context, layers []cache.Layer) ([]byte, error)
	// Stdout is what is written to outputs whose destination is export.Stdout.
	Stdout   io.Writer
	Progress progress.Sink
	Shown    progress.Asides
}

// Room makes the images of one build and writes them. It is not safe for concurrent use.
type Room struct {
	Options
	// saved are the IDs of the images of stages.
	saved map[*plan.Stage]digest.Digest
}

// New makes the Room of a build.
func New(o Options) Room {
	o.Specs = annotated(o.Specs, o.Image.Annotations)
	return Room{Options: o, saved: map[*plan.Stage]digest.Digest{}}
}

// Made is the result of a build.
type Made struct {
	// ID is the digest of the image's config or, for several platforms, of the index in the store.
	ID digest.Digest
	// Manifest is the digest of the manifest: that of the last output, or the local store's.
	Manifest digest.Digest
	// Printed tells, also after an error, that an output or a part of one was written to standard output.
	Printed bool
}

// DiskError says that the disk of an output is full or can't be written to.
type DiskError struct {
	Dest string
	Err  error
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("write %s: %v\nhint: make room on that disk, or choose another place", e.Dest, e.Err)
}

func (e *DiskError) Unwrap() error { return e.Err }

// outputError says what an output could not be written to. Its disk may be another one than the store's; that it can't
// take more is the machine's fault.
func outputError(dest string, err error) error {
	if store.DiskRefuses(err) {
		return fmt.Errorf("%w: %w", store.ErrMachine, &DiskError{dest, err})
	}
	return fmt.Errorf("write %s: %w", dest, err)
}
