package runstep

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// cacheDirs are the directories of a step's cache mounts, which outlive the build. Mounts with the same key share one.
type cacheDirs struct {
	// keys are the keys of the step's cache mounts, by the mount's index in the instruction.
	keys map[int]cache.Key
	open map[cache.Key]*os.File
}

// MountSource has the content of cache mounts that other machines have used.
type MountSource interface {
	// Fill fills the empty directory of a mount, by the key that it has on every machine; false: nobody has it, or it
	// could not be had, and the directory may hold a part of it.
	Fill(ctx context.Context, key cache.Key, id, dir string) bool
	// Used is told of a mount that a step uses: its keys on every machine and on this one, the number of its directory and
	// its ID.
	Used(key, local cache.Key, number, id string)
}

// openCaches opens and locks the directories of a step's cache mounts. release is never nil.
func (r *Room) openCaches(ctx context.Context, c runCall) (dirs cacheDirs, release func() error, err error) {
	dirs = cacheDirs{map[int]cache.Key{}, map[cache.Key]*os.File{}}
	release = func() error { return nil }
	wanted, travels := map[cache.Key]plan.Mount{}, map[cache.Key]cache.Key{}
	for i, m := range c.op.Mounts {
		if m.Type != plan.MountCache {
			continue
		}
		everywhere, key, err := r.cacheKeys(ctx, m, c)
		if err != nil {
			return dirs, release, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		dirs.keys[i], travels[key] = key, everywhere
		if first, ok := wanted[key]; ok {
			m, m.Sharing = first, stricter(first.Sharing, m.Sharing)
		}
		wanted[key] = m
	}

	// All steps of all builds lock in the order of keys, so that no two wait for each other.
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		m := wanted[key]
		dir, unlock, err := r.lockCacheDir(ctx, key, m, c)
		if err != nil {
			return dirs, release, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		release = joined(release, joined(unlock, dir.Close))
		dirs.open[key] = dir
		if err := r.fillCacheDir(ctx, dir, mountOf{m, travels[key]}, c); err != nil {
			return dirs, release, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		if r.Mounts != nil {
			r.Mounts.Used(travels[key], key, filepath.Base(dir.Name()), m.ID)
		}
	}

	return dirs, release, nil
}

// stricter gives the sharing mode for a directory for which a step's mounts ask two modes.
func stricter(one, other plan.Sharing) plan.Sharing {
	for _, s := range []plan.Sharing{plan.SharingLocked, plan.SharingPrivate} {
		if one == s || other == s {
			return s
		}
	}
	return one
}

// mount gives the executor's mount for the step's i-th mount.
func (d cacheDirs) mount(i int, m plan.Mount) executor.Mount {
	return executor.Mount{Kind: executor.Bind, Source: d.open[d.keys[i]], Subpath: "/", Target: m.Target,
		ReadOnly: m.ReadOnly}
}

// cacheKeys give the keys of a mount's cache directory: a digest of its ID, its initial content and its owner, which is
// the same on every machine, and one that says as well whose host IDs the files on this machine have.
func (r *Room) cacheKeys(ctx context.Context, m plan.Mount, c runCall) (everywhere, here cache.Key, err error) {
	// Without a place the step would see nobody as the owner.
	if err := r.Inputs.Roots.Identity.CheckPlace(c.ns, m.UID, m.GID); err != nil {
		return "", "", err
	}
	key := cache.NewKey("mount").Add("id", m.ID)
	if m.From.Kind != plan.InputNone {
		id, err := r.Inputs.Of(m.From, c.done).Identity(ctx)
		if err != nil {
			return "", "", err
		}
		key.Add("from", id, m.Source)
	}
	if owner := ownerText(m); m.Owned && owner != ownerText(plan.Mount{Mode: defaultCacheMode}) {
		key.Add("owner", owner) // another user couldn't use the files in it
	}
	everywhere = key.Key()
	if owners := c.ns.OnDisk(); owners != "" {
		key.Add("userns", owners)
	}
	return everywhere, key.Key(), nil
}

// lockCacheDir opens and locks a cache directory by its sharing mode: shared with other steps (shared), after other
// steps (locked), or another directory that no step uses (private).
func (r *Room) lockCacheDir(ctx context.Context, key cache.Key, m plan.Mount, c runCall) (*os.File, func() error,
	error) {
	for n := 0; ; n++ {
		path, lock, err := r.Inputs.Roots.Store.Parts().Uses.OpenMount(ctx, string(key), strconv.Itoa(n), m.ID)
		if err != nil {
			return nil, nil, err
		}

		how := flock.Exclusive
		if m.Sharing == plan.SharingShared {
			how = flock.Shared
		}

		got, err := flock.Try(lock, how)
		if err == nil && !got && m.Sharing != plan.SharingPrivate {
			r.Inputs.Roots.Progress.Emit(progress.Note{Text: fmt.Sprintf(
				"%s waits for the cache mount id=%s, which another step or build is using", r.StepName(c.step), m.ID)})
			err = flock.Lock(ctx, lock, how)
			got = err == nil
		}

		var dir *os.File
		if got {
			dir, err = fsys.OpenDir(path)
		}
		if err == nil && got {
			return dir, lock.Close, nil
		}
		if err = errors.Join(err, lock.Close()); err != nil {
			return nil, nil, err
		}
	}
}

// mountOf is a cache mount, with the key that it has on every machine.
type mountOf struct {
	plan.Mount
	key cache.Key
}

// fillCacheDir gives a new cache directory what other machines have in it, or else its initial content and its owner.
// It locks the directory only meanwhile, so that other steps wait for that and no longer: steps themselves may use
// locks on the directory.
func (r *Room) fillCacheDir(ctx context.Context, dir *os.File, m mountOf, c runCall) (err error) {
	if fsys.Exists(dir.Name() + uses.MadeSuffix) {
		return nil
	}
	locked, err := os.Open(dir.Name())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locked.Close()) }()
	if err := flock.Lock(ctx, locked, flock.Exclusive); err != nil {
		return err
	}
	if fsys.Exists(dir.Name() + uses.MadeSuffix) {
		return nil
	}
	// A build that was killed while it filled the directory has left files, maybe of other owners.
	if err := fsys.RemoveContents(dir.Name()); err != nil {
		return err
	}
	if r.Mounts == nil || !r.Mounts.Fill(ctx, m.key, m.ID, dir.Name()) || c.ns.Shift(ctx, dir.Name()) != nil {
		if err := errors.Join(context.Cause(ctx), fsys.RemoveContents(dir.Name())); err != nil {
			return err
		}
		if err := r.startCacheDir(ctx, dir.Name(), m.Mount, c); err != nil {
			return err
		}
	}
	made := uses.Made{Key: string(m.key)}
	if c.ns.OnDisk() != "" {
		made.Mapping = c.ns.Mapping
	}
	return uses.WriteMade(dir.Name(), made)
}

// startCacheDir copies a mount's initial content into the cache directory path.
func (r *Room) startCacheDir(ctx context.Context, path string, m plan.Mount, c runCall) error {
	if m.From.Kind != plan.InputNone {
		from, err := r.Inputs.Of(m.From, c.done).Open(ctx)
		if err != nil {
			return err
		}
		o := fileop.CopyOptions{
			Source: from.Dir, Sources: []string{m.Source}, KeepOwner: true, Layer: path, Dest: "/",
		}
		_, err = fileop.Copy(ctx, o)
		if err == nil && !m.Owned {
			err = ownAs(&m, from.Dir)
		}
		if err := errors.Join(err, from.Release()); err != nil {
			return err
		}
	}
	if err := os.Chown(path, int(m.UID), int(m.GID)); err != nil {
		return fmt.Errorf("give the cache to %d:%d: %w", m.UID, m.GID, err)
	}
	if err := unix.Chmod(path, m.Mode); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	return c.ns.Shift(ctx, path)
}

// ownAs sets owner and mode of a cache mount to those of the directory that its initial content comes from.
func ownAs(m *plan.Mount, from *os.File) error {
	fd, err := unix.Openat2(int(from.Fd()), m.Source, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT})
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

// defaultCacheMode is the mode of a cache directory if neither the mount nor its initial content gives one.
const defaultCacheMode = 0o755

func ownerText(m plan.Mount) string { return fmt.Sprintf("%o %d:%d", m.Mode, m.UID, m.GID) }
