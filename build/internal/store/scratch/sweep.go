package scratch

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
)

// staleAfter is the age from which on a directory without a lock counts as left by a process that was killed while it
// made or removed the directory. Other tools that stage in the same store lock a directory as soon as they have made
// it.
const staleAfter = 200 * time.Millisecond

// Sweep removes the directories of processes that have ended, and before each the layer that it names.
func (r *Room) Sweep(ctx context.Context, removeLayer func(id string) error) error {
	making, err := r.lockMaking(ctx, flock.Exclusive)
	if err != nil {
		return err
	}
	free := func(f *os.File) (bool, error) { return flock.Try(f, flock.Exclusive) }
	err = removeUnlocked(ctx, r.path(), dirLock, free, func(dir string) error {
		if id, err := os.ReadFile(filepath.Join(dir, LayerNote)); err == nil {
			if err := removeLayer(string(id)); err != nil {
				return err
			}
		}
		return RemoveAll(dir)
	})
	return errors.Join(err, making.Close())
}

// SweepStaging removes directories of ended processes from base, in which the storage library stages layers; earlier
// versions of this program staged there, too. The library's locks are those of fcntl(2), which a process loses when it
// closes the file, so a process that has staged there itself must not call this.
func SweepStaging(ctx context.Context, base string) error {
	free := func(f *os.File) (bool, error) {
		return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}) == nil, nil
	}
	return removeUnlocked(ctx, base, "staging.lock", free, RemoveAll)
}

func removeUnlocked(ctx context.Context, base, lock string, free func(*os.File) (bool, error),
	remove func(dir string) error) error {
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}

	var errs []error
	for _, e := range entries {
		dir := filepath.Join(base, e.Name())
		f, err := openLock(ctx, dir, lock)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			errs = append(errs, removeLockless(dir, remove))
			continue
		case ctx.Err() != nil:
			return errors.Join(append(errs, context.Cause(ctx))...)
		case err != nil:
			continue // it can't be told whether a process uses the directory
		}
		if dead, err := free(f); err == nil && dead {
			errs = append(errs, remove(dir))
		}
		errs = append(errs, f.Close())
	}

	return errors.Join(errs...)
}

// openLock opens the lock of a directory. If a young directory has none yet, it waits for a while; fs.ErrNotExist means
// that none appeared.
func openLock(ctx context.Context, dir, lock string) (f *os.File, err error) {
	const looks = 10
	for range looks {
		f, err = os.OpenFile(filepath.Join(dir, lock), os.O_RDWR|unix.O_NONBLOCK, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		info, statErr := os.Lstat(dir)
		if statErr != nil || time.Since(info.ModTime()) > staleAfter {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(staleAfter / looks):
		}
	}
	return nil, err
}

// removeLockless removes a directory that has no lock, if it is still there.
func removeLockless(dir string, remove func(dir string) error) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return remove(dir)
}
