package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// stacking is the way of a store that stacks the directories of layers and can't take a step's directory for one:
// overlay with a mount program, or one whose driver has to make the layers. The driver mounts neither with other
// owners nor by a process that ends with the build: where that is wanted, the layers are mounted here, in the same way.
type stacking struct {
	room *Room
	// program is what mounts layers in place of the kernel.
	program library.Program
}

var (
	_ way      = (*stacking)(nil)
	_ Snapshot = (*stacked)(nil)
)

func newStacking(r *Room) *stacking {
	w := &stacking{room: r, program: r.lib.Layout.Program}
	if w.program.Path != "" && !overlay.ClonesDetached() {
		w.program.ByDriver = true
	}
	return w
}

// stacked is a snapshot in a store that stacking serves.
type stacked struct {
	*mounted
	way *stacking
}

// shown is a mount that shows a snapshot in place of the driver's.
type shown struct {
	way *stacking
	// dir is the whole root file system of the step, mounted from the snapshot's own directories, for ns.
	dir *os.File
	ns  NS
	// owners translates the owners that dir shows to container IDs; nil: they are the same.
	owners func(uid, gid uint32) (containerUID, containerGID uint32, err error)
	// unmount gives back dir. What was written to it is in the snapshot's directories then.
	unmount func() error
	// root is what the root directory was before the step, with the owners that dir shows.
	root layer.RootAttr
}

func (s *shown) path() string { return fdPath(s.dir) }

// fdPath names a directory's descriptor, with no link at its end; "" if there is none.
func fdPath(dir *os.File) string {
	if dir == nil {
		return ""
	}
	return fmt.Sprintf("/proc/self/fd/%d/.", dir.Fd())
}

func (w *stacking) prepare(ctx context.Context, below Below) (Snapshot, error) {
	m, err := w.room.prepareMounted(ctx, below)
	if err != nil {
		return nil, err
	}
	s := stacked{m, w}
	if w.mountsItself(m.id) {
		err = s.show(ctx, NS{}, func(string) error { return nil })
	} else {
		err = m.mount()
	}
	if err == nil {
		err = m.inheritRoot()
	}
	if err != nil {
		return nil, errors.Join(err, m.Remove())
	}
	return s, nil
}

func (w *stacking) alone(ctx context.Context, below Below) (Snapshot, error) {
	return w.room.prepareLoose(ctx, below)
}

// InNamespace runs a step with other owners in a view of its own, which stays until the layer is made: the image's
// owners come back when that is read. In what a driver has mounted, a change of owner would copy each file into the
// layer.
func (s stacked) InNamespace(ctx context.Context, ns NS, run RunFunc) error {
	if !ns.Shifted {
		_, err := s.run(run)
		return err
	}
	if err := s.show(ctx, ns, func(upper string) error { return ns.shiftFor(ctx, upper) }); err != nil {
		return err
	}
	keep, err := s.run(run)
	if keep && err != nil { // the next one in it sees what the image has
		back := func(upper string) error { return ns.shiftBack(ctx, upper) }
		err = errors.Join(err, s.show(ctx, NS{}, back))
	}
	return err
}

// show puts a view for a namespace in the place of the driver's mount or of the view before, after prepare has given
// the files in the snapshot's directory of changes the owners for that.
func (s stacked) show(ctx context.Context, ns NS, prepare func(upper string) error) error {
	layers, err := s.room.lib.Directories(s.id)
	if err != nil {
		return fmt.Errorf("locate layer: %w", err)
	}
	if err := library.CheckOwned(layers.Upper); err != nil {
		return err
	}
	if err := s.unmount(); err != nil {
		return err
	}
	if err := prepare(layers.Upper); err != nil {
		return err
	}
	v := &shown{way: s.way, ns: ns}
	if v.dir, v.unmount, err = s.way.stackOn(ctx, s.below, ns, layers); err != nil {
		return err
	}
	if ns.Shifted {
		v.owners = ns.Mapping.ToContainer
	}
	s.shown = v
	v.root, err = layer.ReadRootAttr(v.path())
	return err
}

// mountsItself tells whether the layer is mounted here rather than by the driver: a program that the driver has
// started, and with it its mount, would outlive a build that is killed.
func (w *stacking) mountsItself(id string) bool {
	if w.program.Path == "" || w.program.ByDriver {
		return false
	}
	dir, err := w.room.store.DiffDir(id)
	return err == nil && library.CheckOwned(dir) == nil
}

// errByDriver is for steps with other owners only; the others have the driver's mounts then.
var errByDriver = errors.New(
	"give steps another ID map: with a mount program this takes Linux 6.15, and a store without additionallayerstore\n" +
		"hint: use the kernel's overlay or vfs (--storage-driver), or leave --userns and the maps out")

// stackOn mounts the directories of a snapshot on what a step in the namespace sees of the root below.
func (w *stacking) stackOn(ctx context.Context, below Below, ns NS, on library.Directories) (dir *os.File,
	unmount func() error, err error) {
	o := overlay.Options{Volatile: w.room.lib.Layout.Volatile}
	if o.Lower, err = w.room.dirs.stackFor(ctx, below, ns); err != nil {
		return nil, nil, err
	}
	if o.Upper, err = fsys.OpenDir(on.Upper); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, o.Upper.Close()) }()
	if o.Work, err = fsys.OpenDir(on.Work); err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, o.Work.Close()) }()
	return w.mountStack(ctx, o)
}

// mountStack mounts as the store's driver does.
func (w *stacking) mountStack(ctx context.Context, o overlay.Options) (dir *os.File, unmount func() error, err error) {
	if p := w.program; p.ByDriver {
		return nil, nil, errByDriver
	} else if p.Path != "" {
		return overlay.Program{Path: p.Path, Options: p.Options}.Mount(ctx, o)
	}
	if dir, err = w.room.Overlay(o); err != nil {
		return nil, nil, err
	}
	return dir, dir.Close, nil
}

// stackedView is a view of a root that is mounted here.
func (w *stacking) stackedView(ctx context.Context, below Below, ns NS) (View, error) {
	v := View{Release: nothing}
	if err := below.Wait(ctx); err != nil {
		return v, err
	}
	lower, err := w.room.dirs.stackFor(ctx, below, ns)
	if err != nil || len(lower) == 0 {
		return v, err
	}
	dir, unmount, err := w.mountStack(ctx, overlay.Options{Lower: lower})
	if err != nil {
		return v, err
	}
	return View{Dir: dir, Release: unmount}, nil
}

func (w *stacking) view(ctx context.Context, below Below, ns NS) (View, error) {
	top, err := topOf(ctx, below)
	if err != nil || top == "" {
		return View{Release: nothing}, err
	}
	if ns.Shifted || w.mountsItself(top) {
		return w.stackedView(ctx, below, ns)
	}
	return w.room.driverView(ctx, below)
}
