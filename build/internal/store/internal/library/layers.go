package library

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
)

// layers are the library's calls that are about layers.
type layers struct {
	// Wrote is set when a layer was made.
	Wrote atomic.Bool

	store storage.Store
	fuse  *fuse
	known known
	// own is cooper's directory in the store's; Examine writes it.
	own string
	// rename has functions run where files can be renamed from cooper's own directory to layers.
	rename renaming
}

// ApplyStagedLayer makes a layer of a directory that was staged: by a rename, where Layout.Renames says so. If the
// store has the layer the error is storage.ErrDuplicateID.
func (l *layers) ApplyStagedLayer(o storage.ApplyStagedLayerOptions) (*storage.Layer, error) {
	return makes(l.fuse, &l.Wrote, func() (layer *storage.Layer, err error) {
		if l.store.Exists(o.ID) {
			return nil, errors.Join(storage.ErrDuplicateID, closeSplit(o.DiffOutput))
		}
		c := claimFor(&o)
		defer c.giveBack()
		err = l.rename.run(func() (err error) {
			layer, err = l.store.ApplyStagedLayer(o)
			return err
		})
		if c.replaced(err) {
			l.Wrote.Store(true)
		}
		if c.there(layer) {
			return nil, storage.ErrDuplicateID
		}
		return layer, err
	})
}

// closeSplit closes what the library closes in any case.
func closeSplit(out *drivers.DriverWithDifferOutput) error {
	split := out.TarSplit
	if out.TarSplit = nil; split == nil {
		return nil
	}
	return split.Close()
}

// CreateLayer makes an empty layer on top of a parent.
//
//nolint:revive // the library has its parameters so
func (l *layers) CreateLayer(id, parent string, names []string, label string, writable bool,
	o *storage.LayerOptions) (*storage.Layer, error) {
	return makes(l.fuse, &l.Wrote, func() (made *storage.Layer, err error) {
		err = withoutUmask(func() (err error) {
			made, err = l.store.CreateLayer(id, parent, names, label, writable, o)
			return err
		})
		return made, err
	})
}

// DeleteLayer removes a layer that no other layer and no image needs.
func (l *layers) DeleteLayer(id string) error {
	return l.fuse.do(func() error { return l.store.DeleteLayer(id) })
}

// Diff is the archive of what a layer, or the way to one, changes. The caller closes it.
func (l *layers) Diff(from, to string, o *storage.DiffOptions) (io.ReadCloser, error) {
	rc, err := ask(l.fuse, func() (io.ReadCloser, error) { return l.store.Diff(from, to, o) })
	if err != nil {
		return nil, err
	}
	return &diff{ReadCloser: rc}, nil
}

// diff is an archive that may be closed before its end. The library writes one in a goroutine that it doesn't wait for,
// and closes the records which that reads: at the wrong moment the goroutine panics, and the process ends. At the end
// of the archive it has ended.
type diff struct {
	io.ReadCloser
	// ended is set when a read has failed, or has met the end.
	ended bool
}

func (d *diff) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	d.ended = d.ended || err != nil
	return n, err
}

// Close reads the rest.
func (d *diff) Close() error {
	if !d.ended {
		_, _ = io.Copy(io.Discard, d.ReadCloser) // nobody wants it, be it damaged
	}
	return d.ReadCloser.Close()
}

// DiffSize is the size of what a layer changes, in bytes.
func (l *layers) DiffSize(from, to string) (int64, error) {
	return ask(l.fuse, func() (int64, error) { return l.store.DiffSize(from, to) })
}

// Layer finds a layer by ID or name.
func (l *layers) Layer(id string) (*storage.Layer, error) {
	return ask(l.fuse, func() (*storage.Layer, error) { return l.store.Layer(id) })
}

// Layers lists all layers.
func (l *layers) Layers() ([]storage.Layer, error) { return ask(l.fuse, l.store.Layers) }

// LayersByUncompressedDigest finds the layers whose archive has the digest, uncompressed.
func (l *layers) LayersByUncompressedDigest(d digest.Digest) ([]storage.Layer, error) {
	return ask(l.fuse, func() ([]storage.Layer, error) { return l.store.LayersByUncompressedDigest(d) })
}

// Mount mounts a layer until Unmount is called as often, and gives the directory.
func (l *layers) Mount(id, label string) (string, error) {
	return ask(l.fuse, func() (string, error) { return l.store.Mount(id, label) })
}

// PutLayer makes a layer of an archive.
//
//nolint:revive // the library has its parameters so
func (l *layers) PutLayer(id, parent string, names []string, label string, writable bool, o *storage.LayerOptions,
	diff io.Reader) (*storage.Layer, error) {
	return makes(l.fuse, &l.Wrote, func() (made *storage.Layer, err error) {
		err = withoutUmask(func() (err error) {
			made, _, err = l.store.PutLayer(id, parent, names, label, writable, o, diff)
			return err
		})
		return made, err
	})
}

// Unmount takes back one Mount, or with force all of them; it tells whether the layer is still mounted.
func (l *layers) Unmount(id string, force bool) (bool, error) {
	return ask(l.fuse, func() (bool, error) { return l.store.Unmount(id, force) })
}
