package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// What is here is for drivers that stack the directories of layers and can't take a step's directory for one: overlay
// with a mount program. cooper mounts those itself, as the driver would.

// errByDriver is for steps with other owners only; the others have the driver's mounts then.
var errByDriver = errors.New(
	"give steps another ID map: with a mount program this takes Linux 6.15, and a store without additionallayerstore\n" +
		"hint: use the kernel's overlay or vfs (--storage-driver), or leave --userns and the maps out")

// remount shows the snapshot of a step as the namespace sees it, after prepare has given the files in the snapshot's
// directory of changes the owners for that.
func (b *Roots) remount(ctx context.Context, t *Staged, snap store.Remounter, ns NS,
	prepare func(upper string) error) error {
	return snap.Remount(func(upper, work string) (view store.View, err error) {
		if err := prepare(upper); err != nil {
			return view, fmt.Errorf("prepare the files for the step's user namespace: %w", err)
		}
		if view.Dir, view.Unmount, err = b.stackOn(ctx, t.Below, ns, upper, work); err != nil {
			return view, err
		}
		view.Below = func(ctx context.Context) (*os.File, func() error, error) { return b.stackedView(ctx, t.Below, ns) }
		if ns.Shifted {
			view.Owners = ns.Mapping.ToContainer
		}
		return view, nil
	})
}

// stackOn mounts the directories of a snapshot on what a step in the namespace sees of the root below.
func (b *Roots) stackOn(ctx context.Context, below *Root, ns NS, upper, work string) (dir *os.File,
	unmount func() error, err error) {
	lower, err := b.stackFor(ctx, below, ns)
	if err != nil {
		return nil, nil, err
	}
	upperDir, err := fsys.OpenDir(upper)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, upperDir.Close()) }()
	workDir, err := fsys.OpenDir(work)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, workDir.Close()) }()
	return b.mountStack(ctx, overlay.Options{Lower: lower, Upper: upperDir, Work: workDir, Volatile: b.Store.Volatile()})
}

// mountStack mounts as the store's driver does.
func (b *Roots) mountStack(ctx context.Context, o overlay.Options) (dir *os.File, unmount func() error, err error) {
	if p := b.Store.MountProgram(); p.ByDriver {
		return nil, nil, errByDriver
	} else if p.Path != "" {
		return overlay.Program{Path: p.Path, Options: p.Options}.Mount(ctx, o)
	}
	o.UserXattr = b.UserXattr()
	if dir, err = overlay.Mount(o); err != nil {
		return nil, nil, err
	}
	return dir, dir.Close, nil
}

// stackedView is a view of a root; nil if that is empty.
func (b *Roots) stackedView(ctx context.Context, r *Root, ns NS) (dir *os.File, release func() error, err error) {
	release = func() error { return nil }
	if err := r.Wait(ctx); err != nil {
		return nil, release, err
	}
	lower, err := b.stackFor(ctx, r, ns)
	if err != nil || len(lower) == 0 {
		return nil, release, err
	}
	return b.mountStack(ctx, overlay.Options{Lower: lower})
}

// driverView is a view of a root through the driver, but for what the driver can't do.
func (b *Roots) driverView(ctx context.Context, r *Root, ns NS) (dir *os.File, release func() error, err error) {
	release = func() error { return nil }
	if err := r.Wait(ctx); err != nil || r.Top() == "" {
		return nil, release, err
	}
	switch {
	case b.Store.NeedsView(r.Top()), ns.Shifted && b.Store.Stacks():
		return b.stackedView(ctx, r, ns)
	case ns.Shifted:
		dir, err = b.layers.shifted(ctx, r.Top(), *ns.Mapping)
		return dir, release, err
	}
	path, unmount, err := b.Store.View(r.Top())
	if err != nil {
		return nil, release, err
	}
	b.layers.noteView(r.Top())
	if dir, err = fsys.OpenDir(path); err != nil {
		return nil, release, errors.Join(err, unmount())
	}
	return dir, func() error { return errors.Join(dir.Close(), unmount()) }, nil
}
