package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
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
func (b *builder) stepNS(ctx context.Context, t *target, op *plan.Run) (stepNS, error) {
	m, err := b.stepMap(ctx, t, op)
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
	dir, err := openDir(t.snap.Dir())
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
	if id := b.req.Identity; ns.mapping != nil && id.Asked && id.Auto == nil {
		if err := b.checkOwners(ctx, r, *ns.mapping); err != nil {
			return nil, err
		}
	}
	if ns.shifted {
		return b.shiftedStack(ctx, r, *ns.mapping)
	}
	return b.stack(r)
}

// checkOwners refuses layers with owners that a map which was asked for leaves out: an ID-mapped mount would show them as nobody's, and a
// shifted copy couldn't be made.
func (b *builder) checkOwners(ctx context.Context, r *root, m userns.Mapping) error {
	if r == nil {
		return nil
	}
	if err := r.wait(ctx); err != nil {
		return err
	}
	for _, l := range r.layers {
		ids, err := b.store.LayerOwners(ctx, l.ID)
		if err != nil {
			return err
		}
		missing := m.Missing(ids)
		if missing.Empty() {
			continue
		}
		path, err := b.store.FileOf(ctx, l.ID, missing)
		if err != nil {
			return err
		}
		return fmt.Errorf("the owner of %q is outside the ID map %q: user IDs %v and group IDs %v are missing\n"+
			"hint: the map has to have them: IDs 0 to %d are a range of length %d", path, strings.ReplaceAll(m.UIDs.String(), "\n", ", "),
			missing.UIDs, missing.GIDs, missing.Highest(), uint64(missing.Highest())+1)
	}
	return nil
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
		group.Go(func() (err error) {
			dirs[len(dirs)-1-i], err = b.layers.shifted(ctx, l.ID, m)
			return err
		})
	}
	return dirs, group.Wait()
}

// shifted opens the directory of a committed layer with the mapping's owners.
func (d *layerDirs) shifted(ctx context.Context, id string, m userns.Mapping) (*os.File, error) {
	return d.opened(store.MappingKey(m)+"/"+id, func() (string, error) { return d.store.ShiftedDir(ctx, id, m) })
}

// runStep runs a step in its root file system. Where owners are changed by chown, the directory that it writes to is shifted for it, and
// back again whatever is to be kept of it.
func (b *builder) runStep(ctx context.Context, t *target, c runCall, step executor.Step) (status executor.Status, err error) {
	run := func(open func() (executor.Rootfs, func() error, error)) (err error) {
		var release func() error
		if step.Rootfs, release, err = open(); err != nil {
			return err
		}
		status, err = b.emulate.run(ctx, step, c.op.Platform)
		return errors.Join(err, release())
	}
	usual := func() error {
		return run(func() (executor.Rootfs, func() error, error) { return b.rootfs(ctx, t, c.ns) })
	}
	switch snap, _ := t.snap.(unmounter); {
	case !c.ns.shifted:
		err = usual()
	case snap != nil && b.store.Stacks():
		err = snap.Unmounted(func(upper, work string) error {
			return c.ns.shifting(ctx, upper, &status, func() error {
				return run(func() (executor.Rootfs, func() error, error) { return b.stackedRootfs(ctx, t, c.ns, upper, work) })
			})
		})
	default:
		err = c.ns.shifting(ctx, t.snap.Dir(), &status, usual)
	}
	return status, err
}

// unmounter is a snapshot that can be taken apart for a while. In a view that a driver has mounted, a change of owner would copy each
// file into the layer.
type unmounter interface {
	Unmounted(f func(upper, work string) error) error
}

// shifting shifts the directory that a step writes to, runs the step, and shifts back what is to be kept.
func (ns stepNS) shifting(ctx context.Context, dir string, status *executor.Status, run func() error) error {
	if err := ns.shift(ctx, dir); err != nil {
		return fmt.Errorf("prepare the files for the step's user namespace: %w", err)
	}
	err := run()
	if err != nil && !errors.Is(err, executor.ErrNoCwd) || status.ExitCode != 0 {
		return err
	}
	if backErr := layer.Shift(ctx, dir, store.ToImage(*ns.mapping)); backErr != nil {
		err = errors.Join(err, fmt.Errorf("give the step's files the owners that the image has: %w", backErr))
	}
	return err
}

// stackedRootfs is rootfs with the directories of a driver's layer that is not mounted now.
func (b *builder) stackedRootfs(ctx context.Context, t *target, ns stepNS, upper, work string) (executor.Rootfs, func() error, error) {
	lower, err := b.stackFor(ctx, t.below, ns)
	if err != nil {
		return executor.Rootfs{}, nil, err
	}
	upperDir, err := openDir(upper)
	if err != nil {
		return executor.Rootfs{}, nil, err
	}
	workDir, err := openDir(work)
	if err != nil {
		return executor.Rootfs{}, nil, errors.Join(err, upperDir.Close())
	}
	dir, unmount, err := b.mountStack(ctx, overlay.Options{Lower: lower, Upper: upperDir, Work: workDir, Volatile: b.store.Volatile()})
	if err = errors.Join(err, upperDir.Close(), workDir.Close()); err != nil {
		return executor.Rootfs{}, nil, err
	}
	return executor.Rootfs{Dir: dir}, unmount, nil
}

// mountStack mounts as the store's driver does.
func (b *builder) mountStack(ctx context.Context, o overlay.Options) (dir *os.File, unmount func() error, err error) {
	if p := b.store.MountProgram(); p.Path != "" {
		return overlay.Program{Path: p.Path, Options: p.Options}.Mount(ctx, o)
	}
	o.UserXattr = b.userXattr()
	if dir, err = overlay.Mount(o); err != nil {
		return nil, nil, err
	}
	return dir, dir.Close, nil
}

// shiftedView is view for a driver that makes its views itself.
func (b *builder) shiftedView(ctx context.Context, r *root, ns stepNS) (dir *os.File, release func() error, err error) {
	release = func() error { return nil }
	if b.store.Stacks() {
		lower, err := b.stackFor(ctx, r, ns)
		if err != nil || len(lower) == 0 {
			return nil, release, err
		}
		return b.mountStack(ctx, overlay.Options{Lower: lower})
	}
	if err := r.wait(ctx); err != nil || r.top() == "" {
		return nil, release, err
	}
	dir, err = b.layers.shifted(ctx, r.top(), *ns.mapping)
	return dir, release, err
}
