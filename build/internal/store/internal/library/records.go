package library

import (
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
)

// records are the library's calls that are about images.
type records struct {
	// Recorded is set when an image's record was changed.
	Recorded atomic.Bool

	store storage.Store
	fuse  *fuse
}

// AddNames gives an image or layer more names, each taken from who has it.
func (r *records) AddNames(id string, names []string) error {
	defer r.Recorded.Store(true)
	return r.fuse.do(func() error { return r.store.AddNames(id, names) })
}

// CreateImage records an image. The error is storage.ErrDuplicateID or ErrDuplicateName if the ID or a name is taken.
func (r *records) CreateImage(id string, names []string, top, metadata string, o *storage.ImageOptions) (*storage.Image,
	error) {
	return makes(r.fuse, &r.Recorded, func() (*storage.Image, error) {
		return r.store.CreateImage(id, names, top, metadata,
			o)
	})
}

// DeleteImage removes an image and the layers that only it needs, and with commit false only lists these.
func (r *records) DeleteImage(id string, commit bool) ([]string, error) {
	return makes(r.fuse, &r.Recorded, func() ([]string, error) { return r.store.DeleteImage(id, commit) })
}

// Image finds an image by ID, by the beginning of one, or by name.
func (r *records) Image(id string) (*storage.Image, error) {
	return ask(r.fuse, func() (*storage.Image, error) { return r.store.Image(id) })
}

// ImageBigData reads an item of an image, such as a manifest.
func (r *records) ImageBigData(id, key string) ([]byte, error) {
	return ask(r.fuse, func() ([]byte, error) { return r.store.ImageBigData(id, key) })
}

// Images lists all images.
func (r *records) Images() ([]storage.Image, error) { return ask(r.fuse, r.store.Images) }

// ImagesByDigest finds the images that have a manifest or an index with the digest.
func (r *records) ImagesByDigest(d digest.Digest) ([]*storage.Image, error) {
	return ask(r.fuse, func() ([]*storage.Image, error) { return r.store.ImagesByDigest(d) })
}

// RemoveNames takes names from an image or layer.
func (r *records) RemoveNames(id string, names []string) error {
	defer r.Recorded.Store(true)
	return r.fuse.do(func() error { return r.store.RemoveNames(id, names) })
}

// SetImageBigData writes an item of an image; of gives the digest of a manifest.
func (r *records) SetImageBigData(id, key string, data []byte, of func([]byte) (digest.Digest, error)) error {
	defer r.Recorded.Store(true)
	return r.fuse.do(func() error { return r.store.SetImageBigData(id, key, data, of) })
}

// SetNames gives an image or layer these names and no others, each taken from who has it.
func (r *records) SetNames(id string, names []string) error {
	defer r.Recorded.Store(true)
	return r.fuse.do(func() error { return r.store.SetNames(id, names) })
}
