package build

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

// stepNS is the user namespace of a RUN step below cooper's own.
type stepNS struct {
	// mapping is nil if the step has none.
	mapping *userns.Mapping
	// joined is the namespace if there is one already that the step joins.
	joined *UserNS
	// shifted says that files get their owners by chown, in copies of the layers, and not from ID-mapped mounts.
	shifted bool
}

// idMap is the map that mounts of layers are to have.
func (ns stepNS) idMap() *userns.Mapping {
	if ns.shifted {
		return nil
	}
	return ns.mapping
}

// shift gives files that were made for the step the owners it has for them on disk.
func (ns stepNS) shift(ctx context.Context, dir string) error {
	if !ns.shifted {
		return nil
	}
	return layer.Shift(ctx, dir, store.ToDisk(*ns.mapping))
}

// stepNS is the user namespace that RUN steps get. The request says whether there is one; what the store's file system can do with
// owners is found out once in a build.
func (b *builder) stepNS(ctx context.Context, t *target, c runCall) (stepNS, error) {
	m, err := b.stepMap(ctx, t, c)
	if err != nil {
		return stepNS{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case m == nil || b.mapped:
		return b.knownNS(m), nil
	case b.req.Identity.Process != nil: // the kernel maps the owners of a disk only for those who may mount it
		b.mapped, b.shifted = true, true
		return b.knownNS(m), nil
	}
	dir, err := fsys.OpenDir(t.snap.Dir())
	if err != nil {
		return stepNS{}, err
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

func (b *builder) knownNS(m *userns.Mapping) stepNS {
	if b.unmapped || m == nil {
		return stepNS{}
	}
	return stepNS{m, b.req.Identity.Joined, b.shifted}
}

// withoutIDMap decides what root gets on a file system that can't show its files with other owners: what was asked for is done in
// the slow way, what is only usual is left out.
func (b *builder) withoutIDMap() {
	if b.req.Identity.Asked {
		b.shifted = true
		return
	}
	b.unmapped = true
	b.req.Progress.Emit(progress.Note{Text: "the store's file system can't be ID-mapped: RUN steps get no user namespace of their own"})
}

// stackFor is the layer directories that a step in the namespace is run on, uppermost first.
func (b *builder) stackFor(ctx context.Context, r *root, ns stepNS) ([]*os.File, error) {
	if ns.shifted {
		return b.shiftedStack(ctx, r, *ns.mapping)
	}
	return b.stack(r)
}

// shiftedStack is stack with the owners that a step with the mapping sees. It waits until all the layers are in the store.
func (b *builder) shiftedStack(ctx context.Context, r *root, m userns.Mapping) ([]*os.File, error) {
	if r == nil {
		return nil, nil
	}
	if err := r.wait(ctx); err != nil {
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
	b.req.space.Check()
	return dirs, err
}

// shifted opens the directory of a committed layer with the mapping's owners.
func (d *layerDirs) shifted(ctx context.Context, id string, m userns.Mapping) (*os.File, error) {
	return d.opened(store.MappingKey(m)+"/"+id, func() (string, error) { return d.store.ShiftedDir(ctx, id, m) })
}

// runStep runs a step in its root file system. Where owners are changed by chown, the directory that it writes to is shifted for it, and
// back again whatever is to be kept of it.
func (b *builder) runStep(ctx context.Context, t *target, c runCall, step executor.Step) (status executor.Status, err error) {
	if err := b.checkOwners(ctx, t.below, c.ns.mapping); err != nil {
		return status, err
	}
	if snap, ok := t.snap.(store.Remounter); ok && c.ns.shifted && b.store.Stacks() {
		return b.runRemounted(ctx, t, snap, c, step)
	}
	if c.ns.shifted {
		if err := c.ns.shift(ctx, t.snap.Dir()); err != nil {
			return status, fmt.Errorf("prepare the files for the step's user namespace: %w", err)
		}
	}
	var release func() error
	if step.Rootfs, release, err = b.rootfs(ctx, t, c.ns); err != nil {
		return status, err
	}
	status, err = b.emulate.run(ctx, step, c.op.Platform)
	if err = errors.Join(err, release()); err != nil && !errors.Is(err, executor.ErrNoCwd) || status.ExitCode != 0 || !c.ns.shifted {
		return status, err
	}
	if backErr := layer.Shift(ctx, t.snap.Dir(), store.ToImage(*c.ns.mapping)); backErr != nil {
		err = errors.Join(err, fmt.Errorf("give the step's files the owners that the image has: %w", backErr))
	}
	return status, err
}

// runRemounted runs a step in a view of its own, which stays until the layer is made: the image's owners come back when that is read.
// In what a driver has mounted, a change of owner would copy each file into the layer.
func (b *builder) runRemounted(ctx context.Context, t *target, snap store.Remounter, c runCall, step executor.Step) (status executor.Status, err error) {
	if err := b.remount(ctx, t, snap, c.ns, func(upper string) error { return c.ns.shift(ctx, upper) }); err != nil {
		return status, err
	}
	dir, err := fsys.OpenDir(t.snap.Dir())
	if err != nil {
		return status, err
	}
	step.Rootfs.Dir = dir
	status, err = b.emulate.run(ctx, step, c.op.Platform)
	err = errors.Join(err, dir.Close())
	if errors.Is(err, executor.ErrNoCwd) {
		back := func(upper string) error { return layer.Shift(ctx, upper, store.ToImage(*c.ns.mapping)) }
		err = errors.Join(err, b.remount(ctx, t, snap, stepNS{}, back))
	}
	return status, err
}
