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

// Namespace is the user namespace that RUN steps get. The request says whether there is one; what the store's file
// system can do with owners is found out once in a build.
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
	case b.Identity.Process != nil: // the kernel maps the owners of a disk only for those who may mount it
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

// withoutIDMap decides what root gets on a file system that can't show its files with other owners: what was asked for
// is done in the slow way, what is only usual is left out.
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

// Run has a step run in its root file system, as its namespace sees that.
func (b *Roots) Run(ctx context.Context, t *Staged, ns NS, run RunFunc) (status executor.Status, err error) {
	if err := b.checkOwners(ctx, t.Below, ns.Mapping); err != nil {
		return status, err
	}
	err = t.Snap.InNamespace(ctx, ns, func(root executor.Rootfs) (keep bool, err error) {
		b.checkSpace(ns)
		status, err = run(root)
		if errors.Is(err, executor.ErrNoCwd) { // its directory is made, and it is run again
			return true, err
		}
		return err == nil && status.ExitCode == 0, err
	})
	return status, err
}

// checkSpace looks at the disk after files were kept for steps with other owners.
func (b *Roots) checkSpace(ns NS) {
	if ns.Shifted {
		b.Space.Check()
	}
}
