package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Adopted is the writable layer of a container, which stays the container's: Commit makes another layer of what is in
// it, and Remove only lets go of it. It is mounted while something looks at it or is run in it, and no longer. Nobody
// else may write to it meanwhile.
type Adopted struct {
	archived
	id, parent string
	below      Layers
	dirs       library.Directories
	// byDriver says that the driver shows the layer, and not a mount of this process alone.
	byDriver bool
	// view shows the whole root file system, release gives it back; nil: nothing does.
	view    *os.File
	release func() error
	// root is what the root directory of the layer below is.
	root layer.RootAttr
	once sync.Once
	err  error
}

var _ Snapshot = (*Adopted)(nil)

// Adopt opens the writable layer of a container. shared says that the driver has mounted it already, so that others
// write to the same mount.
func (r *Room) Adopt(id string, shared bool) (*Adopted, error) {
	l, err := r.store.Layer(id)
	if err != nil {
		return nil, err
	}
	chain, err := r.store.Chain(l.Parent)
	if err != nil {
		return nil, err
	}
	a := &Adopted{archived: archived{room: r}, id: id, parent: l.Parent, byDriver: shared || !r.lib.Layout.Renames}
	for _, below := range chain {
		a.below = append(a.below, below.ID)
	}
	if r.lib.Layout.Renames {
		if a.root, err = r.dirs.rootOf(l.Parent); err != nil {
			return nil, err
		}
		if a.dirs, err = r.lib.Directories(id); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// ByDriver tells whether the driver shows the layer: then it can't be shown with other owners.
func (a *Adopted) ByDriver() bool { return a.byDriver }

// Empty tells whether nothing was written to the layer. It is false, too, where that would take long to find out.
func (a *Adopted) Empty() bool {
	if !a.room.lib.Layout.Renames {
		return false
	}
	names, err := os.ReadDir(a.dirs.Upper)
	if err != nil || len(names) > 0 {
		return false
	}
	root, err := layer.ReadRootAttr(a.dirs.Upper)
	return err == nil && root.Equal(a.root)
}

// Inherit gives the root directory of a new container's layer the attributes that it would have in a build.
func (a *Adopted) Inherit() (err error) {
	dir := a.dirs.Upper
	if !a.room.lib.Layout.Renames {
		if a.parent != "" {
			return nil // the driver has copied them
		}
		if err := a.show(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, a.hide()) }()
		dir, a.root = fdPath(a.view), plainRoot()
	}
	return layer.SetRootAttr(dir, a.root)
}

// show mounts the root file system, unless it is.
func (a *Adopted) show() (err error) {
	if a.view != nil {
		return nil
	}
	if a.byDriver {
		dir, err := a.room.lib.Mount(a.id, "")
		if err != nil {
			return fmt.Errorf("mount layer: %w", err)
		}
		unmount := func() error {
			_, err := a.room.lib.Unmount(a.id, false)
			return err
		}
		if a.view, err = fsys.OpenDir(dir); err != nil {
			return errors.Join(err, unmount())
		}
		a.release = unmount
		return nil
	}
	dirs, err := a.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dirs.close()) }()
	o := overlay.Options{Upper: dirs.upper, Work: dirs.work, Volatile: a.room.lib.Layout.Volatile}
	if o.Lower, err = a.room.dirs.stack(a.below); err != nil {
		return err
	}
	a.view, err = a.room.Overlay(o)
	a.release = nothing
	return err
}

// writable are the directories that an overlay writes to.
type writable struct{ upper, work *os.File }

func (w writable) close() error { return errors.Join(w.upper.Close(), w.work.Close()) }

// open opens the directories that the layer is written to. The caller closes them.
func (a *Adopted) open() (w writable, err error) {
	// The kernel mounts nothing on a work directory that was in use without syncs, as in a container, until somebody says
	// that nothing is lost.
	if err := os.RemoveAll(filepath.Join(a.dirs.Work, "work", "incompat")); err != nil {
		return w, err
	}
	if w.upper, err = fsys.OpenDir(a.dirs.Upper); err != nil {
		return w, err
	}
	if w.work, err = fsys.OpenDir(a.dirs.Work); err != nil {
		return w, errors.Join(err, w.upper.Close())
	}
	return w, nil
}

// hide takes the mount away.
func (a *Adopted) hide() error {
	if a.view == nil {
		return nil
	}
	err := errors.Join(a.view.Close(), a.release())
	a.view = nil
	return err
}

// Files is the whole root file system once Start has shown it, and the layer's own directory before.
func (a *Adopted) Files() (dir, marks string) {
	if a.view != nil {
		return fdPath(a.view), a.room.lib.Layout.Marks
	}
	return a.dirs.Upper, a.room.lib.Layout.Marks
}

// Start shows the root file system. It names no layers: nothing may be linked to files that go on to change.
func (a *Adopted) Start(context.Context) (View, error) {
	if err := a.show(); err != nil {
		return View{}, err
	}
	dir, err := fsys.OpenDir(fdPath(a.view))
	if err != nil {
		return View{}, err
	}
	return View{Dir: dir, Release: dir.Close}, nil
}

// errNoShift is for file systems that the kernel can't show with other owners. What a container has isn't changed for a
// command: if that is killed, nobody changes it back.
var errNoShift = errors.New("this store can't show a working container's files with other owners than they have\n" +
	"hint: leave --userns and the maps out, or use --userns=host")

// InNamespace calls run with the root file system.
func (a *Adopted) InNamespace(ctx context.Context, ns NS, run RunFunc) (err error) {
	if ns.Shifted || a.byDriver && ns.Mapping != nil {
		return errNoShift
	}
	if a.byDriver {
		if err := a.show(); err != nil {
			return err
		}
		_, err = run(executor.Rootfs{Dir: a.view})
		return errors.Join(err, a.hide())
	}
	if err := a.hide(); err != nil { // two mounts would write to one directory
		return err
	}
	dirs, err := a.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dirs.close()) }()
	root := executor.Rootfs{Upper: dirs.upper, Work: dirs.work, UserXattr: a.room.userMarks(),
		Volatile: a.room.lib.Layout.Volatile}
	if root.Lower, err = a.room.dirs.stackFor(ctx, a.below, ns); err != nil {
		return err
	}
	if root.Stubs, err = a.room.stubDir(ctx); err != nil {
		return err
	}
	_, err = run(root)
	return err
}

// Pending is nil: the layer goes on to change.
func (a *Adopted) Pending() (*os.File, error) { return nil, nil } //nolint:nilnil // nothing is an answer

// Read writes what is in the layer to an archive.
func (a *Adopted) Read(ctx context.Context, o ReadOptions) (res layer.Result, err error) {
	if err := a.create(); err != nil {
		return res, err
	}
	options := o.options(layer.Options{OverlayXattr: a.room.lib.Layout.Marks, Tar: a.tar, ParentRoot: &a.root})
	if a.room.lib.Layout.Renames {
		res, err = layer.Read(ctx, a.dirs.Upper, options)
	} else {
		res, err = a.compare(ctx, options)
	}
	a.diffID = res.DiffID
	return res, err
}

// compare finds what is in the layer by comparing what the driver shows with and without it.
func (a *Adopted) compare(ctx context.Context, o layer.Options) (res layer.Result, err error) {
	if err := a.show(); err != nil {
		return res, err
	}
	m := mounted{archived: archived{room: a.room}, parent: a.parent, dir: fdPath(a.view)}
	below, release, err := m.before(ctx)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if a.root = plainRoot(); below != "" {
		if a.root, err = layer.ReadRootAttr(below); err != nil {
			return res, err
		}
	}
	changes, err := m.changes(ctx, m.dir)
	if err != nil {
		return res, fmt.Errorf("compare layer with its parent: %w", err)
	}
	changed, deleted := sortChanges(changes)
	return layer.ReadChanges(ctx, m.dir, changed, deleted, o)
}

// Commit makes another layer of the archive.
func (a *Adopted) Commit(ctx context.Context, parent string) (store.Layer, error) {
	return a.commit(ctx, parent, func() (layer.RootAttr, error) {
		if a.room.lib.Layout.Renames {
			return layer.ReadRootAttr(a.dirs.Upper)
		}
		return layer.ReadRootAttr(fdPath(a.view))
	}, a.Remove)
}

// Remove lets go of the layer.
func (a *Adopted) Remove() error {
	a.once.Do(func() { a.err = errors.Join(a.close(), a.hide()) })
	return a.err
}
