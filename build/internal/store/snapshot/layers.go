package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/shift"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/userns"
)

// layerDirs opens the directories of committed layers, each once in a build.
type layerDirs struct {
	store *store.Store
	mu    sync.Mutex
	open  map[string]*os.File // the directories by layer ID, those of shifted copies by a longer key
	// views are the IDs of the layers that were looked at through the driver.
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

// shifted opens the directory of a committed layer with the mapping's owners.
func (d *layerDirs) shifted(ctx context.Context, id string, m userns.Mapping) (*os.File, error) {
	return d.opened(shift.MappingKey(m)+"/"+id, func() (string, error) { return shift.New(d.store).Dir(ctx, id, m) })
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

	f = d.beneath(f)
	d.mu.Lock()
	defer d.mu.Unlock()
	if first, ok := d.open[key]; ok { // another goroutine was faster
		return first, f.Close()
	}
	d.open[key] = f
	return f, nil
}

// beneath opens a layer's directory again in the mount that the store's own directory is in, where no mount over the
// driver's directory hides it, and closes dir. If that isn't possible, it gives dir itself.
func (d *layerDirs) beneath(dir *os.File) *os.File {
	if library.Of(d.store.Parts().Library).Layout.Marks != library.TrustedMarks {
		return dir
	}
	return library.Beneath(d.store.Paths().Own, dir)
}

// rootOf is what the root directory of a layer is, and what it is without any.
func (d *layerDirs) rootOf(id string) (layer.RootAttr, error) {
	if id == "" {
		return plainRoot(), nil
	}
	dir, err := d.get(id)
	if err != nil {
		return layer.RootAttr{}, err
	}
	return layer.ReadRootAttr(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
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

// GoneError says that another program has removed a layer that the build uses.
type GoneError struct{ Layer string }

func (e *GoneError) Error() string {
	return fmt.Sprintf("another program has removed layer %.12s from the store, or its image, while the build used it\nhint: build again", e.Layer)
}

// CheckStill refuses what was made on a layer, "" for none, or of others that the room has opened, if somebody removed
// one of them meanwhile: of their files only a part may have been seen.
func (r *Room) CheckStill(top string) error {
	// To look a layer up takes the store's lock, so whatever removal began before has been done after. The store keeps
	// what is below a layer.
	if !r.store.HasLayer(top) && top != "" {
		return &GoneError{top}
	}
	// A step has seen more layers than those that it stands on, such as another stage's.
	if id := r.dirs.gone(); id != "" {
		return &GoneError{id}
	}
	return nil
}

// OpenLayer opens the directory of a layer of the store itself, no file of which ever changes; nil: that can't be. The
// caller closes it.
func (r *Room) OpenLayer(id string) *os.File {
	if !r.lib.Layout.Renames {
		return nil
	}
	path, err := r.store.DiffDir(id)
	if err != nil {
		return nil
	}
	dir, err := fsys.OpenDir(path)
	if err != nil {
		return nil
	}
	if own := r.ownOf([]*os.File{dir}); len(own) == 0 {
		_ = dir.Close() // nothing was written
		return nil
	}
	return r.dirs.beneath(dir)
}

// stack is the directories of the layers, uppermost first.
func (d *layerDirs) stack(below Below) ([]*os.File, error) {
	pending, layers := below.Stack()
	dirs := make([]*os.File, 0, len(pending)+len(layers))
	dirs = append(dirs, pending...)
	for _, id := range slices.Backward(layers) {
		f, err := d.get(id)
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, f)
	}
	return dirs, nil
}

// stackFor is the layer directories that a step in the namespace is run on, uppermost first.
func (d *layerDirs) stackFor(ctx context.Context, below Below, ns NS) ([]*os.File, error) {
	if ns.Shifted {
		return d.shiftedStack(ctx, below, *ns.Mapping)
	}
	return d.stack(below)
}

// shiftedStack is stack with the owners that a step with the mapping sees. It waits until all the layers are in the
// store.
func (d *layerDirs) shiftedStack(ctx context.Context, below Below, m userns.Mapping) ([]*os.File, error) {
	if err := below.Wait(ctx); err != nil {
		return nil, err
	}
	_, layers := below.Stack()
	dirs := make([]*os.File, len(layers))
	group, ctx := errgroup.WithContext(ctx)
	for i, id := range layers {
		group.Go(guard.Func(func() (err error) {
			dirs[len(dirs)-1-i], err = d.shifted(ctx, id, m)
			return err
		}))
	}
	return dirs, group.Wait()
}

// topOf waits for a root file system and gives its uppermost layer; "" if there is none.
func topOf(ctx context.Context, below Below) (string, error) {
	if err := below.Wait(ctx); err != nil {
		return "", err
	}
	_, layers := below.Stack()
	if len(layers) == 0 {
		return "", nil
	}
	return layers[len(layers)-1], nil
}
