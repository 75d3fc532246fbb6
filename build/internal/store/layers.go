package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"

	"github.com/cooperbuild/cooper/userns"
)

// Layer is a committed layer. Parent is the ID of the one below, empty at the bottom. Size counts the bytes of the
// uncompressed tar stream whose digest DiffID is.
type Layer struct {
	ID, Parent string
	DiffID     digest.Digest
	Size       int64
	// Owners are the owners of its files, container IDs, if the layer's record has them.
	Owners *userns.IDs
	// Blob describes the compressed blob that the layer was pulled as, with OCI's media type; the zero value: none.
	Blob ocispec.Descriptor
}

// FromStorage converts a layer of the library.
func FromStorage(l *storage.Layer) Layer {
	from := Layer{ID: l.ID, Parent: l.Parent, DiffID: l.UncompressedDigest, Size: l.UncompressedSize}
	if len(l.UIDs) > 0 && len(l.GIDs) > 0 {
		from.Owners = &userns.IDs{UIDs: l.UIDs, GIDs: l.GIDs}
	}
	from.Blob = blobOf(l)
	return from
}

// blobOf describes the blob that a layer was pulled as, if that was compressed.
func blobOf(l *storage.Layer) ocispec.Descriptor {
	d := ocispec.Descriptor{Digest: l.CompressedDigest, Size: l.CompressedSize}
	switch l.CompressionType {
	case archive.Gzip:
		d.MediaType = ocispec.MediaTypeImageLayerGzip
	case archive.Zstd:
		d.MediaType = ocispec.MediaTypeImageLayerZstd
	}
	if d.MediaType == "" || d.Size <= 0 || d.Digest == l.UncompressedDigest || d.Digest.Validate() != nil {
		return ocispec.Descriptor{}
	}
	return d
}

// Layer looks a layer up by its full ID; the error is ErrNoLayer if there is none.
func (s *Store) Layer(id string) (Layer, error) {
	l, err := s.library.Find(id)
	if errors.Is(err, storage.ErrLayerUnknown) || err == nil && l.ID != id {
		return Layer{}, fmt.Errorf("layer %s: %w", id, ErrNoLayer)
	}
	if err != nil {
		return Layer{}, fmt.Errorf("look up layer %s: %w", id, err)
	}
	if s.parts.Durable.Damaged(l) {
		return Layer{}, fmt.Errorf("layer %s lost files when the disk was stopped, and a container still uses it: %w", id,
			ErrNoLayer)
	}
	return FromStorage(l), nil
}

// Unknown tells whether an error says that the store has no such layer or image.
func Unknown(err error) bool {
	for _, unknown := range []error{
		ErrNoLayer, storage.ErrLayerUnknown, storage.ErrParentUnknown, storage.ErrImageUnknown, storage.ErrNotALayer,
		storage.ErrNotAnImage,
	} {
		if errors.Is(err, unknown) {
			return true
		}
	}
	return false
}

// Chain gives the layer with the ID top and all layers below it, the lowest first. The chain of "" is empty.
func (s *Store) Chain(top string) ([]Layer, error) {
	var chain []Layer
	for id := top; id != ""; {
		l, err := s.Layer(id)
		if err != nil {
			return nil, err
		}
		chain = append(chain, l)
		id = l.Parent
	}
	slices.Reverse(chain)
	return chain, nil
}

// DiffDir gives the directory of a layer's own files, in a store that stages layers. The caller opens it at once: other
// programs can remove layers of the store.
func (s *Store) DiffDir(id string) (string, error) {
	dir := filepath.Join(s.library.GraphRoot(), overlayDriver, id, "diff")
	if _, err := os.Lstat(dir); err == nil {
		return dir, nil
	}
	dirs, err := s.library.Directories(id)
	if errors.Is(err, fs.ErrNotExist) { // the driver looks for the directory of a layer that was removed
		err = ErrNoLayer
	}
	if err != nil {
		return "", fmt.Errorf("locate layer %s: %w", id, err)
	}
	if dirs.Upper == "" {
		return "", fmt.Errorf("locate layer %s: %w", id, ErrNoLayer)
	}
	return dirs.Upper, nil
}

// MountLayer lets the driver mount a layer for reading. The caller calls the returned function when done.
func (s *Store) MountLayer(id string) (dir string, unmount func() error, err error) {
	give := func() error {
		_, err := s.library.Unmount(id, false)
		return err
	}
	dir, err = s.library.Mount(id, "")
	if errors.Is(err, storage.ErrStoreIsReadOnly) { // it lies in an additional image store
		dir, give, err = s.library.MountOthers(id)
	}
	if err != nil {
		return "", nil, fmt.Errorf("mount layer %s: %w", id, err)
	}
	return dir, func() error {
		if err := give(); err != nil {
			return fmt.Errorf("unmount layer %s: %w", id, err)
		}
		return nil
	}, nil
}

// HostIDs gives the options for layers whose files have on disk, as this process sees them, the IDs of the image.
func HostIDs() storage.LayerIDMappingOptions {
	return storage.LayerIDMappingOptions{HostUIDMapping: true, HostGIDMapping: true}
}

// LayerTar streams a layer's uncompressed tar, byte for byte as its DiffID says. The caller closes it.
func (s *Store) LayerTar(l Layer) (io.ReadCloser, error) {
	none := archive.Uncompressed
	rc, err := s.library.Diff(l.Parent, l.ID, &storage.DiffOptions{Compression: &none})
	if err != nil {
		return nil, fmt.Errorf("read layer %s: %w", l.ID, err)
	}
	return rc, nil
}

// RemoveLayer deletes a layer that nothing refers to. A layer that is still in use is left alone.
func (s *Store) RemoveLayer(id string) error {
	err := s.library.DeleteLayer(id)
	switch {
	case err == nil, Unknown(err), errors.Is(err, storage.ErrLayerHasChildren),
		errors.Is(err, storage.ErrLayerUsedByImage), errors.Is(err, storage.ErrLayerUsedByContainer):
		return nil
	}
	return fmt.Errorf("remove layer %s: %w", id, err)
}

// HasLayer tells whether the store has a layer, whichever tool made it.
func (s *Store) HasLayer(id string) bool { return s.library.Exists(id) }

// HasFiles tells whether the driver has a layer's directory.
func (s *Store) HasFiles(id string) bool { return s.driver.Exists(id) }

// Interruptible gives a reader that reads from from until the context ends; its error is the context's cause then.
func Interruptible(ctx context.Context, from io.Reader) io.Reader { return interruptible{ctx, from} }

type interruptible struct {
	ctx  context.Context //nolint:containedctx // Read has no context among its arguments
	from io.Reader
}

func (r interruptible) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.from.Read(p)
}
