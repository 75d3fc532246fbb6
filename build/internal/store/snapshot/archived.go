package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// ReadOptions say how a snapshot's digests are made.
type ReadOptions struct {
	// Date replaces modification times; nil: they stay as they are.
	Date *layer.Date
	// Sums, LargeFile, Progress and Sparse are as in layer.Options.
	Sums      *layer.Sums
	LargeFile func(name string, sum [32]byte)
	Progress  func(bytes int64)
	Sparse    func(name string, size, disk int64)
}

// options gives what the caller asks for to the options of a read.
func (o ReadOptions) options(to layer.Options) layer.Options {
	to.Date, to.Sums, to.LargeFile, to.Progress, to.Sparse = o.Date, o.Sums, o.LargeFile, o.Progress, o.Sparse
	return to
}

// errNotRead says that Commit was called before Read.
var errNotRead = errors.New("commit layer: its digests have not been made")

// plainRoot are the root directory's attributes where neither an archive nor a layer below says them.
func plainRoot() layer.RootAttr { return layer.RootAttr{Mode: 0o755} }

// archived is what becomes a layer by way of an archive.
type archived struct {
	room   *Room
	tar    *os.File      // the archive; made by create
	diffID digest.Digest // of the archive, uncompressed
}

// create makes the file for the archive.
func (a *archived) create() (err error) {
	if a.tar, err = a.room.store.Parts().Scratch.File(); err != nil {
		return fmt.Errorf("read layer: %w", err)
	}
	return nil
}

// commit makes the layer, and calls remove whatever happens.
func (a *archived) commit(ctx context.Context, parent string, root func() (layer.RootAttr, error),
	remove func() error) (store.Layer, error) {
	if a.tar == nil {
		return store.Layer{}, errNotRead
	}
	if _, err := a.tar.Seek(0, io.SeekStart); err != nil {
		return store.Layer{}, errors.Join(fmt.Errorf("commit layer: %w", err), remove())
	}
	l, err := a.put(ctx, parent, root)
	return l, errors.Join(err, remove())
}

func (a *archived) close() error {
	if a.tar == nil {
		return nil
	}
	return a.tar.Close()
}

// put makes a layer from the archive, which has no entry for the root, or takes the one that is there. A lowest layer's
// root gets what root gives.
func (a *archived) put(ctx context.Context, parent string, root func() (layer.RootAttr, error)) (store.Layer, error) {
	create := func(id string) (*storage.Layer, error) {
		put, err := a.room.lib.PutLayer(id, parent, nil, "", false,
			&storage.LayerOptions{IDMappingOptions: store.HostIDs()}, a.tar)
		if err != nil || parent != "" {
			return put, err
		}
		attr, err := root()
		if err == nil {
			err = a.giveRoot(id, attr)
		}
		if err != nil {
			err = errors.Join(err, a.room.store.RemoveLayer(id))
		}
		return put, err
	}
	l, _, err := a.room.store.Commit(ctx, parent, store.Content{DiffID: a.diffID}, create)
	return l, err
}

// giveRoot gives the lowest layer the root directory's attributes, which an archive without an entry for the root
// leaves to the driver. The layers above take them from there.
func (a *archived) giveRoot(id string, attr layer.RootAttr) error {
	find, unmount := a.room.store.MountLayer, nothing
	if w, ok := a.room.way.(*stacking); ok && w.mountsItself(id) {
		find = func(id string) (string, func() error, error) {
			dir, err := a.room.store.DiffDir(id)
			return dir, unmount, err
		}
	}
	dir, unmount, err := find(id)
	if err == nil {
		err = errors.Join(layer.SetRootAttr(dir, attr), unmount())
	}
	if err != nil {
		return fmt.Errorf("commit layer: %w", err)
	}
	return nil
}

// loose is a snapshot for a step that looks at nothing below it, in a store where nothing becomes a layer by a rename:
// a plain directory.
type loose struct {
	archived
	below  Below
	dir    string
	root   layer.RootAttr
	remove func() error
	once   sync.Once
	err    error
}

var _ Snapshot = (*loose)(nil)

func (r *Room) prepareLoose(ctx context.Context, below Below) (Snapshot, error) {
	dir, remove, err := r.store.Parts().Scratch.Tree(ctx, "files")
	if err != nil {
		return nil, fmt.Errorf("prepare a layer: %w", err)
	}
	l := &loose{archived: archived{room: r}, below: below, dir: dir, remove: remove}
	if l.root, err = layer.ReadRootAttr(dir); err != nil {
		return nil, errors.Join(err, remove())
	}
	return l, nil
}

func (l *loose) Files() (dir, marks string) { return l.dir, l.room.lib.Layout.Marks }

func (l *loose) Start(ctx context.Context) (View, error) { return l.room.View(ctx, l.below, NS{}) }

func (l *loose) InNamespace(context.Context, NS, RunFunc) error {
	return errors.New("run a step: its snapshot was made for one that sees nothing")
}

func (l *loose) Pending() (*os.File, error) { return nil, nil } //nolint:nilnil // nothing is an answer

func (l *loose) Read(ctx context.Context, o ReadOptions) (layer.Result, error) {
	if err := l.create(); err != nil {
		return layer.Result{}, err
	}
	res, err := layer.Read(ctx, l.dir, o.options(layer.Options{
		OverlayXattr: l.room.lib.Layout.Marks, Tar: l.tar, ParentRoot: &l.root,
	}))
	l.diffID = res.DiffID
	return res, err
}

func (l *loose) Commit(ctx context.Context, parent string) (store.Layer, error) {
	return l.commit(ctx, parent, func() (layer.RootAttr, error) { return plainRoot(), nil }, l.Remove)
}

func (l *loose) Remove() error {
	l.once.Do(func() { l.err = errors.Join(l.close(), l.remove()) })
	return l.err
}
