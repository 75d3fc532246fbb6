package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// staging is the way of a store in which a directory becomes a layer by a rename.
type staging struct {
	room *Room
	mu   sync.Mutex
	// mu guards spare: the empty snapshots that steps without a change have left, for later steps.
	spare []*staged
}

var (
	_ way      = (*staging)(nil)
	_ Snapshot = (*staged)(nil)
)

// maxStack is how many layers the kernel's overlay can be mounted on.
const maxStack = 480

func (w *staging) prepare(ctx context.Context, below Below) (Snapshot, error) {
	dirs, err := w.room.dirs.stack(below)
	if err != nil {
		return nil, err
	}
	if len(dirs) >= maxStack {
		return nil, fmt.Errorf("the base image has %d layers; no more than %d can be built on", len(dirs), maxStack)
	}
	st, err := w.take(ctx)
	if err != nil {
		return nil, err
	}
	st.below = below
	if err := st.inheritRoot(dirs); err != nil {
		return nil, errors.Join(err, st.Remove())
	}
	return st, nil
}

func (w *staging) alone(ctx context.Context, below Below) (Snapshot, error) {
	return w.prepare(ctx, below)
}

func (w *staging) view(ctx context.Context, below Below, ns NS) (View, error) {
	v := View{Mapped: ns.Mapping != nil, Release: nothing}
	dirs, err := w.room.dirs.stackFor(ctx, below, ns)
	if err != nil || len(dirs) == 0 {
		return v, err
	}
	if v.Dir, err = w.room.Overlay(overlay.Options{Lower: dirs, IDMap: ns.IDMap()}); err != nil {
		return v, err
	}
	v.Release = v.Dir.Close
	if !v.Mapped && !ns.Shifted {
		v.Layers, v.Own = dirs, w.room.ownOf(dirs)
	}
	return v, nil
}

// ownOf are those of the directories that lie in the store itself.
func (r *Room) ownOf(dirs []*os.File) (own []*os.File) {
	for _, dir := range dirs {
		for _, top := range []string{r.lib.GraphRoot(), r.store.Paths().Own} {
			if strings.HasPrefix(dir.Name(), top+"/") {
				own = append(own, dir)
				break
			}
		}
	}
	return own
}

// take gives a directory that an earlier step left empty, or a new one.
func (w *staging) take(ctx context.Context) (*staged, error) {
	w.mu.Lock()
	if n := len(w.spare); n > 0 {
		st := w.spare[n-1]
		w.spare = w.spare[:n-1]
		w.mu.Unlock()
		return st, nil
	}
	w.mu.Unlock()
	return w.make(ctx)
}

// keep takes a snapshot that is as empty as it was at first.
func (w *staging) keep(s Snapshot) bool {
	st, ok := s.(*staged)
	if !ok {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spare = append(w.spare, st)
	return true
}

func (w *staging) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, st := range w.spare {
		errs = append(errs, st.Remove())
	}
	w.spare = nil
	return errors.Join(errs...)
}

// make makes a snapshot on nothing, without attributes for its root directory.
func (w *staging) make(ctx context.Context) (*staged, error) {
	// Not in the driver's own place for staged directories: podman before 5 empties that, whatever is under way in it.
	base, remove, err := w.room.store.Parts().Scratch.Dir(ctx)
	if err != nil {
		return nil, fmt.Errorf("stage a layer: %w", err)
	}
	st := &staged{room: w.room, base: base, remove: remove}
	st.out.Target = filepath.Join(base, "dir")
	if err := errors.Join(os.Mkdir(st.dir(), 0o755), os.Mkdir(st.work(), 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("stage a layer: %w", err), st.Remove())
	}
	return st, nil
}

// stagedOverhead is what a layer takes on disk besides its files, in bytes: the driver's directory, with the layer's
// root directory, two small files, an empty directory, and the tar-split records.
const stagedOverhead = 6 * 4096

// staged is a snapshot in a temporary directory. As long as the step's directory in it isn't renamed to be a layer,
// only cooper knows of it.
type staged struct {
	room  *Room
	below Below
	base  string // the temporary directory
	// root are the attributes of the root directory below.
	root layer.RootAttr
	out  drivers.DriverWithDifferOutput
	// disk, in bytes, and linked are what the layer's note will say; read sets them.
	disk   int64
	linked bool
	// remove deletes base.
	remove func() error
	once   sync.Once
	err    error
}

func (st *staged) dir() string  { return st.out.Target }
func (st *staged) work() string { return filepath.Join(st.base, "work") }

// inheritRoot gives the directory a step writes to the root directory's attributes of what is below.
func (st *staged) inheritRoot(below []*os.File) (err error) {
	st.root = plainRoot()
	if len(below) > 0 {
		if st.root, err = layer.ReadRootAttr(fmt.Sprintf("/proc/self/fd/%d", below[0].Fd())); err != nil {
			return err
		}
	}
	return layer.SetRootAttr(st.dir(), st.root)
}

func (st *staged) Files() (dir, marks string) { return st.dir(), st.room.lib.Layout.Marks }

func (st *staged) Start(ctx context.Context) (View, error) { return st.room.View(ctx, st.below, NS{}) }

func (st *staged) Pending() (*os.File, error) { return fsys.OpenDir(st.dir()) }

// InNamespace has the step's own directory shifted for it, and back again what is to be kept of it.
func (st *staged) InNamespace(ctx context.Context, ns NS, run RunFunc) error {
	if err := ns.shiftFor(ctx, st.dir()); err != nil {
		return err
	}
	root, release, err := st.rootfs(ctx, ns)
	if err != nil {
		return err
	}
	keep, err := run(root)
	if closeErr := release(); closeErr != nil || !keep {
		return errors.Join(err, closeErr)
	}
	if backErr := ns.shiftBack(ctx, st.dir()); backErr != nil {
		return errors.Join(err, backErr)
	}
	return err
}

func (st *staged) rootfs(ctx context.Context, ns NS) (root executor.Rootfs, release func() error, err error) {
	root = executor.Rootfs{UserXattr: st.room.userMarks(), Volatile: st.room.lib.Layout.Volatile}
	if root.Upper, err = fsys.OpenDir(st.dir()); err != nil {
		return root, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Upper.Close())
		}
	}()
	if root.Lower, err = st.room.dirs.stackFor(ctx, st.below, ns); err != nil {
		return root, nil, err
	}
	if root.Stubs, err = st.room.stubDir(ctx); err != nil {
		return root, nil, err
	}
	if root.Work, err = fsys.OpenDir(st.work()); err != nil {
		return root, nil, err
	}
	return root, func() error { return errors.Join(root.Upper.Close(), root.Work.Close()) }, nil
}

func (st *staged) Read(ctx context.Context, o ReadOptions) (layer.Result, error) {
	return st.read(ctx, o, st.root)
}

// read makes the digests; the root directory is in the layer if it isn't as root says.
func (st *staged) read(ctx context.Context, o ReadOptions, root layer.RootAttr) (layer.Result, error) {
	split, err := scratch.FileIn(st.base)
	if err != nil {
		return layer.Result{}, fmt.Errorf("read layer: %w", err)
	}
	res, err := layer.Read(ctx, st.dir(), o.options(layer.Options{
		OverlayXattr: st.room.lib.Layout.Marks, TarSplit: split, ParentRoot: &root,
	}))
	if err != nil || res.Empty {
		return res, errors.Join(err, split.Close())
	}
	info, err := os.Lstat(st.dir())
	if err != nil {
		return res, errors.Join(err, split.Close())
	}
	mode := info.Mode()
	st.out.RootDirMode = &mode
	st.out.UncompressedDigest, st.out.Size = res.DiffID, res.Size
	st.disk, st.linked = res.Disk+stagedOverhead, res.Linked
	st.out.UIDs, st.out.GIDs = res.UIDs, res.GIDs
	st.out.TarSplit = split
	return res, nil
}

func (st *staged) Commit(ctx context.Context, parent string) (store.Layer, error) {
	if st.out.UncompressedDigest == "" {
		return store.Layer{}, errNotRead
	}
	content := store.Content{DiffID: st.out.UncompressedDigest, Disk: st.disk, Linked: st.linked}
	l, made, err := st.room.store.Commit(ctx, parent, content, func(id string) (*storage.Layer, error) {
		return st.room.lib.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
			ID: id, ParentLayer: parent, DiffOutput: &st.out, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
			LayerOptions: &storage.LayerOptions{IDMappingOptions: store.HostIDs()},
		})
	})
	if err != nil {
		return store.Layer{}, errors.Join(err, st.Remove())
	}
	if made {
		// The rename took the directory; what is left is the overlay's work directory.
		err = st.Remove()
	}
	return l, err
}

func (st *staged) Remove() error {
	st.once.Do(func() {
		if split := st.out.TarSplit; split != nil { // a commit closes it
			st.out.TarSplit = nil
			st.err = split.Close()
		}
		if err := st.remove(); err != nil {
			st.err = errors.Join(st.err, fmt.Errorf("remove staged layer: %w", err))
		}
	})
	return st.err
}
