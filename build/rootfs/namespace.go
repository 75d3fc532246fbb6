package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/userns"
)

// NS is the user namespace of a RUN step below cooper's own.
type NS struct {
	// Mapping is nil if the step has none.
	Mapping *userns.Mapping
	// Joined is the namespace if there is one already that the step joins.
	Joined *executor.UserNS
	// Shifted says that files get their owners by chown, in copies of the layers, and not from ID-mapped mounts.
	Shifted bool
}

// IDMap is the map that mounts of layers are to have.
func (ns NS) IDMap() *userns.Mapping {
	if ns.Shifted {
		return nil
	}
	return ns.Mapping
}

// Shift gives files that were made for the step the owners it has for them on disk.
func (ns NS) Shift(ctx context.Context, dir string) error {
	if !ns.Shifted {
		return nil
	}
	return layer.Shift(ctx, dir, store.ToDisk(*ns.Mapping))
}

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
	dir, err := fsys.OpenDir(t.Snap.Dir())
	if err != nil {
		return NS{}, err
	}
	view, err := overlay.Mount(overlay.Options{Lower: []*os.File{dir}, IDMap: m})
	if err == nil {
		err = view.Close()
	} else if errors.Is(err, overlay.ErrNoIDMap) {
		err = nil
		b.withoutIDMap()
	}
	b.mapped = err == nil
	return b.knownNS(m), errors.Join(err, dir.Close())
}

func (b *Roots) knownNS(m *userns.Mapping) NS {
	if b.unmapped || m == nil {
		return NS{}
	}
	return NS{m, b.Identity.Joined, b.shifted}
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

// stackFor is the layer directories that a step in the namespace is run on, uppermost first.
func (b *Roots) stackFor(ctx context.Context, r *Root, ns NS) ([]*os.File, error) {
	if ns.Shifted {
		return b.shiftedStack(ctx, r, *ns.Mapping)
	}
	return b.stack(r)
}

// shiftedStack is stack with the owners that a step with the mapping sees. It waits until all the layers are in the
// store.
func (b *Roots) shiftedStack(ctx context.Context, r *Root, m userns.Mapping) ([]*os.File, error) {
	if r == nil {
		return nil, nil
	}
	if err := r.Wait(ctx); err != nil {
		return nil, err
	}
	dirs := make([]*os.File, len(r.layers))
	group, ctx := errgroup.WithContext(ctx)
	for i, l := range r.layers {
		group.Go(guard.Func(func() (err error) {
			dirs[len(dirs)-1-i], err = b.layers.shifted(ctx, l.ID, m)
			return err
		}))
	}
	err := group.Wait()
	b.Space.Check()
	return dirs, err
}

// shifted opens the directory of a committed layer with the mapping's owners.
func (d *layerDirs) shifted(ctx context.Context, id string, m userns.Mapping) (*os.File, error) {
	return d.opened(store.MappingKey(m)+"/"+id, func() (string, error) { return d.store.ShiftedDir(ctx, id, m) })
}

// A RunFunc runs a step in a root file system.
type RunFunc func(root executor.Rootfs) (executor.Status, error)

// Run has a step run in its root file system. Where owners are changed by chown, the directory that it writes to is
// shifted for it, and back again whatever is to be kept of it.
func (b *Roots) Run(ctx context.Context, t *Staged, ns NS, run RunFunc) (status executor.Status, err error) {
	if err := b.checkOwners(ctx, t.Below, ns.Mapping); err != nil {
		return status, err
	}
	if snap, ok := t.Snap.(store.Remounter); ok && ns.Shifted && b.Store.Stacks() {
		return b.runRemounted(ctx, t, snap, ns, run)
	}
	if ns.Shifted {
		if err := ns.Shift(ctx, t.Snap.Dir()); err != nil {
			return status, fmt.Errorf("prepare the files for the step's user namespace: %w", err)
		}
	}
	root, release, err := b.rootfs(ctx, t, ns)
	if err != nil {
		return status, err
	}
	status, err = run(root)
	if err = errors.Join(err, release()); err != nil && !errors.Is(err, executor.ErrNoCwd) || status.ExitCode != 0 ||
		!ns.Shifted {
		return status, err
	}
	if backErr := layer.Shift(ctx, t.Snap.Dir(), store.ToImage(*ns.Mapping)); backErr != nil {
		err = errors.Join(err, fmt.Errorf("give the step's files the owners that the image has: %w", backErr))
	}
	return status, err
}

// runRemounted runs a step in a view of its own, which stays until the layer is made: the image's owners come back when
// that is read. In what a driver has mounted, a change of owner would copy each file into the layer.
func (b *Roots) runRemounted(ctx context.Context, t *Staged, snap store.Remounter, ns NS,
	run RunFunc) (status executor.Status, err error) {
	if err := b.remount(ctx, t, snap, ns, func(upper string) error { return ns.Shift(ctx, upper) }); err != nil {
		return status, err
	}
	dir, err := fsys.OpenDir(t.Snap.Dir())
	if err != nil {
		return status, err
	}
	status, err = run(executor.Rootfs{Dir: dir})
	err = errors.Join(err, dir.Close())
	if errors.Is(err, executor.ErrNoCwd) {
		back := func(upper string) error { return layer.Shift(ctx, upper, store.ToImage(*ns.Mapping)) }
		err = errors.Join(err, b.remount(ctx, t, snap, NS{}, back))
	}
	return status, err
}
