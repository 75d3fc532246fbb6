package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/fileop"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

// mountView mounts layers, uppermost first, to be read; with a mapping as a step with that mapping sees them through an ID-mapped mount.
func (b *builder) mountView(dirs []*os.File, mapping *userns.Mapping) (*os.File, error) {
	return overlay.Mount(overlay.Options{Lower: dirs, UserXattr: b.userXattr(), IDMap: mapping})
}

func (b *builder) userXattr() bool { return b.store.OverlayXattr() == "user.overlay." }

// mounts opens what a RUN step's --mount flags ask for. release is never nil and gives back what was opened, also after
// an error.
func (b *builder) mounts(ctx context.Context, c runCall) (mounts []executor.Mount, release func() error, err error) {
	var releases []func() error
	release = func() error {
		var errs []error
		for i := len(releases) - 1; i >= 0; i-- {
			errs = append(errs, releases[i]())
		}
		return errors.Join(errs...)
	}
	for _, v := range b.req.Run.Volumes {
		opened, done, err := b.volume(ctx, v, c.ns)
		if err != nil {
			return nil, release, fmt.Errorf("volume %s:%s: %w", v.Source, v.Target, err)
		}
		releases = append(releases, done)
		mounts = append(mounts, opened)
	}
	for _, m := range c.op.Mounts {
		if m.Type == plan.MountSecret || m.Type == plan.MountSSH {
			continue // no files of the disk
		}
		opened, done, err := b.mount(ctx, m, c)
		if err != nil {
			return nil, release, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		releases = append(releases, done)
		mounts = append(mounts, opened)
	}
	return mounts, release, nil
}

func (b *builder) mount(ctx context.Context, m plan.Mount, c runCall) (executor.Mount, func() error, error) {
	switch m.Type {
	case plan.MountTmpfs:
		return executor.Mount{Kind: executor.Tmpfs, Target: m.Target, SizeBytes: m.SizeBytes, ReadOnly: m.ReadOnly}, func() error { return nil }, nil
	case plan.MountCache:
		return b.cacheMount(ctx, m, c)
	case plan.MountBind:
		return b.bindMount(ctx, m, c)
	}
	return executor.Mount{}, nil, fmt.Errorf("mount type %q is not known", m.Type)
}

// bindMount shows a directory or file of a context, a stage or an image. What a step writes to it is thrown away.
func (b *builder) bindMount(ctx context.Context, m plan.Mount, c runCall) (executor.Mount, func() error, error) {
	in := b.input(m.From, c.done)
	// An overlay can't be ID-mapped as a whole, so a view of layers is mounted mapped from the start.
	in.ns = c.ns
	from, err := in.open(ctx)
	if err != nil {
		return executor.Mount{}, nil, err
	}
	release := from.release
	em := executor.Mount{
		Kind: executor.Bind, Source: from.dir, Subpath: m.Source, Target: m.Target, ReadOnly: m.ReadOnly,
		IDMapped: c.ns.mapping != nil && !in.local() && b.store.Stages(),
	}
	copies := from.filter != nil
	if in.local() && !copies {
		if copies, em.UserNS, err = b.showAsRoots(from.dir, m, c); err != nil {
			return em, nil, errors.Join(err, release())
		}
		if em.UserNS != nil {
			release = joined(release, em.UserNS.Close)
		}
	}
	if !copies && m.ReadOnly {
		return em, release, nil
	}
	tmp, remove, err := b.store.TempDir(ctx)
	if err != nil {
		return em, nil, errors.Join(err, release())
	}
	release = joined(release, remove)
	if copies {
		// The step must not see what the ignore file hides, and must see owners of its own, so it gets a copy.
		copied := filepath.Join(tmp, "copy")
		if err := os.Mkdir(copied, 0o755); err != nil {
			return em, nil, errors.Join(err, release())
		}
		o := fileop.CopyOptions{
			Source: from.dir, Sources: []string{m.Source}, Ignore: from.filter, Layer: copied, Dest: m.Source, OverlayXattr: b.store.OverlayXattr(),
		}
		if _, err := fileop.Copy(ctx, o); err != nil {
			return em, nil, errors.Join(err, release())
		}
		if err := c.ns.shift(ctx, copied); err != nil {
			return em, nil, errors.Join(err, release())
		}
		if em.Source, err = openDir(copied); err != nil {
			return em, nil, errors.Join(err, release())
		}
		release = joined(release, em.Source.Close)
	}
	if !m.ReadOnly {
		if em.Scratch, err = makeScratch(tmp); err != nil {
			return em, nil, errors.Join(err, release())
		}
		release = joined(release, em.Scratch.Close)
	}
	return em, release, nil
}

// makeScratch makes a directory for what a step writes in vain.
func makeScratch(tmp string) (*os.File, error) {
	scratch := filepath.Join(tmp, "scratch")
	if err := os.Mkdir(scratch, 0o700); err != nil {
		return nil, err
	}
	return openDir(scratch)
}

// joined calls the second function and then the first.
func joined(first, second func() error) func() error {
	return func() error { return errors.Join(second(), first()) }
}

// cacheMount opens a directory that outlives the build. It is found by its ID, and by what it starts with.
func (b *builder) cacheMount(ctx context.Context, m plan.Mount, c runCall) (executor.Mount, func() error, error) {
	if err := b.checkPlace(c.ns, m.UID, m.GID); err != nil { // the step would have a directory of nobody's
		return executor.Mount{}, nil, err
	}
	in := b.input(m.From, c.done)
	key := cache.NewKey("mount").Add("id", m.ID)
	if m.From.Kind != plan.InputNone {
		id, err := in.identity(ctx)
		if err != nil {
			return executor.Mount{}, nil, err
		}
		key.Add("from", id, m.Source)
	}
	if owner := ownerText(m); m.Owned && owner != ownerText(plan.Mount{Mode: defaultCacheMode}) {
		key.Add("owner", owner) // what is made for one user is of no use to another
	}
	if c.ns.shifted {
		key.Add("userns", store.MappingKey(*c.ns.mapping)) // owners are on disk as the step has them
	}
	dir, unlock, err := b.lockCacheDir(ctx, string(key.Key()), m)
	if err != nil {
		return executor.Mount{}, nil, err
	}
	release := joined(unlock, dir.Close)
	em := executor.Mount{Kind: executor.Bind, Source: dir, Subpath: "/", Target: m.Target, ReadOnly: m.ReadOnly}
	made, err := b.cache.Lock(key.Key())
	if err != nil {
		return em, nil, errors.Join(err, release())
	}
	if err := errors.Join(b.fillCacheDir(ctx, dir, m, c), made()); err != nil {
		return em, nil, errors.Join(err, release())
	}
	return em, release, nil
}

// lockCacheDir opens a cache directory as its sharing mode allows: together with others, after the others, or another
// one that nobody uses.
func (b *builder) lockCacheDir(ctx context.Context, key string, m plan.Mount) (*os.File, func() error, error) {
	for n := 0; ; n++ {
		path, lock, err := b.store.OpenMount(key, strconv.Itoa(n), m.ID)
		if err != nil {
			return nil, nil, err
		}
		how := unix.LOCK_EX
		switch m.Sharing {
		case plan.SharingLocked:
		case plan.SharingPrivate:
			how |= unix.LOCK_NB
		default:
			how = unix.LOCK_SH
		}
		if err := flock(ctx, lock, how); err != nil {
			closeErr := lock.Close()
			if m.Sharing == plan.SharingPrivate && errors.Is(err, unix.EWOULDBLOCK) {
				continue
			}
			return nil, nil, errors.Join(err, closeErr)
		}
		dir, err := openDir(path)
		if err != nil {
			return nil, nil, errors.Join(err, lock.Close())
		}
		return dir, lock.Close, nil
	}
}

// fillCacheDir gives a cache directory that was just made its content and its owner.
func (b *builder) fillCacheDir(ctx context.Context, dir *os.File, m plan.Mount, c runCall) error {
	in := b.input(m.From, c.done)
	path := dir.Name()
	marker := path + ".made"
	if _, err := os.Lstat(marker); err == nil {
		return nil
	}
	if m.From.Kind != plan.InputNone {
		from, err := in.open(ctx)
		if err != nil {
			return err
		}
		o := fileop.CopyOptions{
			Source: from.dir, Sources: []string{m.Source}, KeepOwner: true, Layer: path, Dest: "/", OverlayXattr: b.store.OverlayXattr(),
		}
		_, err = fileop.Copy(ctx, o)
		if err == nil && !m.Owned {
			err = ownAs(&m, from.dir)
		}
		if err := errors.Join(err, from.release()); err != nil {
			return err
		}
	}
	if err := os.Chown(path, int(m.UID), int(m.GID)); err != nil {
		return fmt.Errorf("give the cache to %d:%d: %w", m.UID, m.GID, err)
	}
	if err := unix.Chmod(path, m.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	if err := c.ns.shift(ctx, path); err != nil {
		return err
	}
	return os.WriteFile(marker, nil, 0o600)
}

// ownAs takes owner and mode from the directory that a cache starts from.
func ownAs(m *plan.Mount, from *os.File) error {
	fd, err := unix.Openat2(int(from.Fd()), m.Source, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return &os.PathError{Op: "open", Path: m.Source, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: m.Source, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		m.Mode, m.UID, m.GID = st.Mode&0o7777, st.Uid, st.Gid
	}
	return nil
}

// defaultCacheMode is the mode of a cache directory that is given none.
const defaultCacheMode = 0o755

func ownerText(m plan.Mount) string { return fmt.Sprintf("%o %d:%d", m.Mode, m.UID, m.GID) }

// flock waits for a lock until the context ends.
func flock(ctx context.Context, f *os.File, how int) error {
	if how&unix.LOCK_NB != 0 {
		return unix.Flock(int(f.Fd()), how)
	}
	got := make(chan error, 1)
	go func() {
		err := error(unix.EINTR)
		for errors.Is(err, unix.EINTR) {
			err = unix.Flock(int(f.Fd()), how)
		}
		got <- err
	}()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		// The goroutine ends with the process; nobody uses the file any more.
		return context.Cause(ctx)
	}
}
