package rootfs

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/store/snapshot"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/userns"
)

// NS is the user namespace of a RUN step below cooper's own.
type NS = snapshot.NS

// Namespace gives the user namespace for a RUN step. The build's Identity says whether steps get one; whether the
// store's file system can show files with other owners is found out once in a build.
func (b *Roots) Namespace(ctx context.Context, t *Staged, need Need) (NS, error) {
	m, err := b.stepMap(ctx, t, need)
	if err != nil {
		return NS{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case m == nil || b.mapped:
		return b.knownNS(m), nil
	case b.Identity.Process != nil: // only the namespace that owns a file system may mount it ID-mapped
		b.mapped, b.shifted = true, true
		return b.knownNS(m), nil
	}
	can, err := snapshot.CanMap(t.Snap, *m)
	if err == nil && !can {
		b.withoutIDMap()
	}
	b.mapped = err == nil
	return b.knownNS(m), err
}

func (b *Roots) knownNS(m *userns.Mapping) NS {
	if b.unmapped || m == nil {
		return NS{}
	}
	return NS{Mapping: m, Joined: b.Identity.Joined, Shifted: b.shifted}
}

// withoutIDMap decides how root's steps run on a file system without ID-mapped mounts. If the user has asked for a
// namespace, steps get shifted copies of the files, which is slow; otherwise they get no namespace.
func (b *Roots) withoutIDMap() {
	if b.Identity.Asked {
		b.shifted = true
		return
	}
	b.unmapped = true
	b.Progress.Emit(progress.Note{Text: "the store's file system can't be ID-mapped: RUN steps get no user namespace of their own"})
}

// A RunFunc runs a step in a root file system.
type RunFunc func(root executor.Rootfs) (executor.Status, error)

// Run mounts the root file system of a step with the owners that its namespace sees, and calls run with it.
func (b *Roots) Run(ctx context.Context, t *Staged, ns NS, run RunFunc) (status executor.Status, err error) {
	if err := b.checkOwners(ctx, t.Below, ns.Mapping); err != nil {
		return status, err
	}
	err = t.Snap.InNamespace(ctx, ns, func(root executor.Rootfs) (keep bool, err error) {
		b.checkSpace(ns)
		status, err = run(root)
		if errors.Is(err, executor.ErrNoCwd) { // the caller makes the working directory and runs the step again
			return true, err
		}
		return err == nil && status.ExitCode == 0, err
	})
	return status, err
}

// checkSpace has the limit on disk space checked after shifted copies of layers were made.
func (b *Roots) checkSpace(ns NS) {
	if ns.Shifted {
		b.Space.Check()
	}
}
