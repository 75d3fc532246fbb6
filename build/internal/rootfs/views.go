package rootfs

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/executor"
)

// views mount root file systems with the owners that a step's namespace sees, to be read or to run the step in.
type views struct {
	snapshots *snapshot.Room
	owners    *owners
	space     *reclaim.Space
}

// open opens a read-only view; see Roots.View.
func (v views) open(ctx context.Context, r *Root, ns NS) (snapshot.View, error) {
	if err := v.owners.check(ctx, r, ns.Mapping); err != nil {
		return snapshot.View{}, err
	}
	defer v.kept(ns)
	return v.snapshots.View(ctx, r, ns)
}

// A RunFunc runs a step in a root file system.
type RunFunc func(root executor.Rootfs) (executor.Status, error)

// run has a step run in its root file system; see Roots.Run.
func (v views) run(ctx context.Context, t *Staged, ns NS, run RunFunc) (status executor.Status, err error) {
	if err := v.owners.check(ctx, t.Below, ns.Mapping); err != nil {
		return status, err
	}
	err = t.Snap.InNamespace(ctx, ns, func(root executor.Rootfs) (keep bool, err error) {
		v.kept(ns)
		status, err = run(root)
		if errors.Is(err, executor.ErrNoCwd) { // the caller makes the working directory and runs the step again
			return true, err
		}
		return err == nil && status.ExitCode == 0, err
	})
	return status, err
}

// kept has the limit on disk space checked after shifted copies of layers were made.
func (v views) kept(ns NS) {
	if ns.Shifted {
		v.space.Check()
	}
}
