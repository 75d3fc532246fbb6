package rootfs

import (
	"context"
	"errors"
	"os"
	"strconv"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
)

// mountView mounts layers, uppermost first, to be read; with a mapping as a step with that mapping sees them through an
// ID-mapped mount.
func (b *Roots) mountView(dirs []*os.File, mapping *userns.Mapping) (*os.File, error) {
	return overlay.Mount(overlay.Options{Lower: dirs, UserXattr: b.UserXattr(), IDMap: mapping})
}

// UserXattr tells whether the marks of overlay are attributes of the user namespace.
func (b *Roots) UserXattr() bool { return b.Store.OverlayXattr() == "user.overlay." }

// ViewBelow is the merged root file system a step starts from. In a store that doesn't stage it is what the step
// writes to.
func (b *Roots) ViewBelow(ctx context.Context, t *Staged) (*os.File, func() error, error) {
	if t.Snap.Mounted() {
		return openDir(t.Snap.Dir())
	}
	return b.View(ctx, t.Below, NS{})
}

// openDir is a directory as a view of itself.
func openDir(path string) (*os.File, func() error, error) {
	dir, err := fsys.OpenDir(path)
	if err != nil {
		return nil, nil, err
	}
	return dir, dir.Close, nil
}

// rootfs is the root file system that a step runs in and writes to.
func (b *Roots) rootfs(ctx context.Context, t *Staged, ns NS) (executor.Rootfs, func() error, error) {
	upper, err := fsys.OpenDir(t.Snap.Dir())
	if err != nil {
		return executor.Rootfs{}, nil, err
	}
	if t.Snap.Mounted() {
		return executor.Rootfs{Dir: upper}, upper.Close, nil
	}
	lower, err := b.stackFor(ctx, t.Below, ns)
	if err != nil {
		return executor.Rootfs{}, nil, errors.Join(err, upper.Close())
	}
	workDir, err := fsys.OpenDir(t.Snap.Work())
	if err != nil {
		return executor.Rootfs{}, nil, errors.Join(err, upper.Close())
	}
	stubs, err := b.stubDir(ctx)
	if err != nil {
		return executor.Rootfs{}, nil, errors.Join(err, upper.Close(), workDir.Close())
	}
	return executor.Rootfs{
		Lower: lower, Upper: upper, Work: workDir, Stubs: stubs,
		UserXattr: b.UserXattr(), Volatile: b.Store.Volatile(),
	}, func() error { return errors.Join(upper.Close(), workDir.Close()) }, nil
}

// stubDir is where the executor keeps the mount points that images lack, one for all steps of the build.
func (b *Roots) stubDir(ctx context.Context) (*os.File, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stubs != nil {
		return b.stubs, nil
	}
	path, remove, err := b.Store.TempTree(ctx, "stubs")
	if err != nil {
		return nil, err
	}
	if b.stubs, err = fsys.OpenDir(path); err != nil {
		return nil, errors.Join(err, remove())
	}
	b.cleanups = append(b.cleanups, remove, b.stubs.Close)
	return b.stubs, nil
}

// NewKey starts a key with what all steps of this build have in common.
func (b *Roots) NewKey(kind string) *cache.KeyBuilder {
	return b.addSourceDate(cache.NewKey(kind))
}

// addSourceDate keeps what was made with one date apart from what was made with another.
func (b *Roots) addSourceDate(k *cache.KeyBuilder) *cache.KeyBuilder {
	if d := b.SourceDate; d != nil {
		k.Add("source date", strconv.FormatInt(d.Unix(), 10))
	}
	return k
}
