package snapshot

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// trees is the way of a store in which each layer is a whole tree.
type trees struct{ room *Room }

var (
	_ way      = (*trees)(nil)
	_ Snapshot = (*tree)(nil)
)

// tree is a snapshot in a directory with all files of the root file system, not only the changed ones.
type tree struct{ *mounted }

func (w *trees) prepare(ctx context.Context, below Below) (Snapshot, error) {
	m, err := w.room.prepareMounted(ctx, below)
	if err != nil {
		return nil, err
	}
	if err = m.mount(); err == nil {
		err = m.inheritRoot()
	}
	if err != nil {
		return nil, errors.Join(err, m.Remove())
	}
	return tree{m}, nil
}

func (w *trees) alone(ctx context.Context, below Below) (Snapshot, error) {
	return w.room.prepareLoose(ctx, below)
}

// InNamespace has the whole tree shifted for the step, and back again what is to be kept of it.
func (t tree) InNamespace(ctx context.Context, ns NS, run RunFunc) error {
	if err := ns.shiftFor(ctx, t.path()); err != nil {
		return err
	}
	keep, err := t.run(run)
	if !keep {
		return err
	}
	return errors.Join(err, ns.shiftBack(ctx, t.path()))
}

func (w *trees) view(ctx context.Context, below Below, ns NS) (View, error) {
	if !ns.Shifted {
		return w.room.driverView(ctx, below)
	}
	v := View{Release: nothing}
	top, err := topOf(ctx, below)
	if err == nil && top != "" {
		v.Dir, err = w.room.dirs.shifted(ctx, top, *ns.Mapping)
	}
	return v, err
}

// driverView is a view through the driver.
func (r *Room) driverView(ctx context.Context, below Below) (View, error) {
	v := View{Release: nothing}
	top, err := topOf(ctx, below)
	if err != nil || top == "" {
		return v, err
	}
	path, unmount, err := r.store.MountLayer(top)
	if err != nil {
		return v, err
	}
	r.dirs.noteView(top)
	if v.Dir, err = fsys.OpenDir(path); err != nil {
		return v, errors.Join(err, unmount())
	}
	dir := v.Dir
	v.Release = func() error { return errors.Join(dir.Close(), unmount()) }
	return v, nil
}
