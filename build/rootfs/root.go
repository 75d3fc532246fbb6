package rootfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
)

// A Root is the root file system after a step. It can be mounted at once; its content ID is there when known is
// closed, its layers are in the store when sealed is.
type Root struct {
	// below is the root this one adds to; nil at the bottom, which is an image or scratch.
	below *Root
	// base is the root of the image the chain starts from: itself at the bottom.
	base *Root
	// dir is the directory the step wrote to, while its layer isn't committed; nil if there is no such directory.
	dir *os.File

	// made says that a step of this build has made it, and wrote who owns files that this step has written or replaced; a
	// RUN step's own doings are left out, see addedOwners.
	made  bool
	wrote userns.IDs
	// fits is set once all owners in it are known to have a place in the map of the build's RUN steps.
	fits atomic.Bool

	known  chan struct{}
	sealed chan struct{}

	// Both are final once known is closed: the content ID, and why there is none.
	content cache.ContentID
	unknown error
	// What follows is final once sealed is closed.

	// own is the layer this root adds; nil if it adds none.
	own *cache.Layer
	// merged says that the uppermost layer stands for all those between base and this root.
	merged bool
	// layers are all the layers, bottom first.
	layers []cache.Layer
	// created is when the step that made own was run; without one, that of the root below.
	created time.Time
	err     error
}

// sealedRoot makes a root whose layers are in the store already.
func sealedRoot(below *Root, content cache.ContentID, layers []cache.Layer, created time.Time) *Root {
	done := make(chan struct{})
	close(done)
	r := &Root{below: below, known: done, sealed: done, content: content, layers: layers, created: created}
	if r.base = r; below != nil {
		r.base = below.base
	}
	return r
}

// Wait waits until the root's layers are in the store.
func (r *Root) Wait(ctx context.Context) error {
	select {
	case <-r.sealed:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// WaitKnown waits until the root's content ID is there.
func (r *Root) WaitKnown(ctx context.Context) error {
	select {
	case <-r.known:
		return r.unknown
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// IsSealed tells whether the layers are in the store, all of them.
func (r *Root) IsSealed() bool {
	select {
	case <-r.sealed:
		return r.err == nil
	default:
		return false
	}
}

// Top is the store's ID of the uppermost layer of a sealed root; "" if it has none.
func (r *Root) Top() string {
	if len(r.layers) == 0 {
		return ""
	}
	return r.layers[len(r.layers)-1].ID
}

// depth is at least the number of the root's layers.
func (r *Root) depth() int {
	n := 0
	for ; r != nil; r = r.below {
		if r.IsSealed() {
			return n + len(r.layers)
		}
		n++
	}
	return n
}

// layerDirs opens the directories of committed layers, each once in a build.
type layerDirs struct {
	store *store.Store
	mu    sync.Mutex
	open  map[string]*os.File
	// views are the layers that were looked at through the driver.
	views []string
}

func (d *layerDirs) noteView(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Contains(d.views, id) {
		d.views = append(d.views, id)
	}
}

func (d *layerDirs) get(id string) (*os.File, error) {
	return d.opened(id, func() (string, error) { return d.store.DiffDir(id) })
}

// opened opens what find finds, unless it is open under that key.
func (d *layerDirs) opened(key string, find func() (string, error)) (*os.File, error) {
	d.mu.Lock()
	f, ok := d.open[key]
	d.mu.Unlock()
	if ok {
		return f, nil
	}
	dir, err := find()
	if err != nil {
		return nil, err
	}
	if f, err = fsys.OpenDir(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, &GoneError{key}
	}
	if err != nil {
		return nil, fmt.Errorf("open layer %s: %w", key, err)
	}
	f = d.store.Beneath(f)
	d.mu.Lock()
	defer d.mu.Unlock()
	if first, ok := d.open[key]; ok { // another goroutine was faster
		return first, f.Close()
	}
	d.open[key] = f
	return f, nil
}

// gone gives a layer that was looked at, or the key of a directory that was opened, and isn't in its place any more; ""
// if there is none. A directory of the same name may have come since.
func (d *layerDirs) gone() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range d.views {
		if !d.store.HasLayer(id) {
			return id
		}
	}
	for key, f := range d.open {
		var was, is unix.Stat_t
		if unix.Fstat(int(f.Fd()), &was) != nil || unix.Lstat(f.Name(), &is) != nil || was.Dev != is.Dev ||
			was.Ino != is.Ino {
			return key
		}
	}
	return ""
}

// GoneError says that another program has removed a layer that the build uses.
type GoneError struct{ Layer string }

func (e *GoneError) Error() string {
	return fmt.Sprintf("another program has removed layer %.12s from the store, or its image, while the build used it\nhint: build again", e.Layer)
}

// Lost tells whether an error comes of something in the store that was removed while the build used it.
func Lost(err error) bool { return errors.As(err, new(*GoneError)) || store.Unknown(err) }

// CheckStill refuses what was made of layers that somebody removed meanwhile: of their files only a part may have been
// seen.
func (b *Roots) CheckStill(r *Root) error {
	// To look a layer up takes the store's lock, so whatever removal began before has been done after. The store keeps
	// what is below a layer.
	top := r.Top()
	if !b.Store.HasLayer(top) && top != "" {
		return &GoneError{top}
	}
	// A step has seen more layers than those that it stands on, such as another stage's.
	if id := b.layers.gone(); id != "" {
		return &GoneError{id}
	}
	return nil
}

func (d *layerDirs) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, f := range d.open {
		errs = append(errs, f.Close())
	}
	clear(d.open)
	return errors.Join(errs...)
}

// stack is the root's layer directories, uppermost first.
func (b *Roots) stack(r *Root) ([]*os.File, error) {
	var dirs []*os.File
	for ; r != nil; r = r.below {
		if r.IsSealed() {
			for i := len(r.layers) - 1; i >= 0; i-- {
				f, err := b.layers.get(r.layers[i].ID)
				if err != nil {
					return nil, err
				}
				dirs = append(dirs, f)
			}
			return dirs, nil
		}
		if r.dir != nil {
			dirs = append(dirs, r.dir)
		}
	}
	return dirs, nil
}

// explainGone puts before an error of a step that layers were removed under it, which comes out as all kinds of errors.
func (b *Roots) explainGone(below *Root, err error) error {
	if !below.IsSealed() {
		below = below.base
	}
	return errors.Join(b.CheckStill(below), err)
}

// The following hold once the root is sealed.

// Layers are all the layers, bottom first. The caller doesn't change them.
func (r *Root) Layers() []cache.Layer { return r.layers }

// Own is the layer this root adds to the one below; nil if it adds none.
func (r *Root) Own() *cache.Layer { return r.own }

// Merged says that the uppermost layer stands for all those between the base and this root.
func (r *Root) Merged() bool { return r.merged }

// Created is when the step that made Own was run; without one, that of the root below.
func (r *Root) Created() time.Time { return r.created }

// Content is the content ID; it is there once WaitKnown has returned.
func (r *Root) Content() cache.ContentID { return r.content }

// Below is the root this one adds to; nil at the bottom, which is an image or scratch.
func (r *Root) Below() *Root { return r.below }

// Base is the root of the image the chain starts from: itself at the bottom.
func (r *Root) Base() *Root { return r.base }
