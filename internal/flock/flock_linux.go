package flock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// A Kind says whom a lock keeps out.
type Kind int

const (
	// Shared keeps exclusive locks out.
	Shared Kind = unix.LOCK_SH
	// Exclusive keeps all other locks out.
	Exclusive Kind = unix.LOCK_EX
)

// ErrUnsupported is behind the error of a file on a file system that has no locks.
var ErrUnsupported = errors.New("the file system has no locks")

// A wait begins with the shortest pause between two tries and doubles it up to the longest: most locks are held for
// less than the first, and the last is what a build that waits for another one may lose. Waiting inside flock(2) could
// not be interrupted: Go restarts the call after each signal.
const (
	shortestPause = 200 * time.Microsecond
	longestPause  = 20 * time.Millisecond
)

// Lock waits until the open file has the lock, or until the context ends; the error is then the context's cause. A lock
// that the file has already is converted. Two locks taken through two open files of one process are in each other's
// way.
func Lock(ctx context.Context, f *os.File, kind Kind) error {
	return wait(ctx, func() (bool, error) { return Try(f, kind) })
}

// wait calls try until it says that it has got the lock.
func wait(ctx context.Context, try func() (bool, error)) error {
	for pause := shortestPause; ; pause = min(2*pause, longestPause) {
		got, err := try()
		if got || err != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

// Try takes the lock if nobody is in the way, and says whether it did.
func Try(f *os.File, kind Kind) (bool, error) {
	err := fsys.Retry0(func() error { return unix.Flock(int(f.Fd()), int(kind)|unix.LOCK_NB) })
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EINVAL):
		return false, fmt.Errorf("lock %s: %w", f.Name(), ErrUnsupported)
	}
	return false, fmt.Errorf("lock %s: %w", f.Name(), err)
}

// File opens the lock file that has the path, makes it with mode 0600 if there is none, and waits for its lock. Closing
// the file gives the lock back. The file stays: it must not be removed or replaced by anybody.
func File(ctx context.Context, path string, kind Kind) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Lock(ctx, f, kind); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Existing waits for the lock of a file or directory that may be removed or replaced by whoever has its lock. The error
// is fs.ErrNotExist if nothing has the path, or not any more once the lock was there to be had.
func Existing(ctx context.Context, path string, kind Kind) (*os.File, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	if err := Lock(ctx, f, kind); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return still(f, path)
}

// TryExisting is Existing without a wait: it returns nil if somebody is in the way.
func TryExisting(path string, kind Kind) (*os.File, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	if got, err := Try(f, kind); err != nil || !got {
		return nil, errors.Join(err, f.Close())
	}
	return still(f, path)
}

// Release gives the lock of an open file back and closes the file. Closing alone does so later if a process is being
// started meanwhile: it has a copy of the open file until its program begins, and on a busy machine that takes time.
func Release(f *os.File) error {
	err := fsys.Retry0(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_UN) })
	if err != nil {
		err = fmt.Errorf("give the lock of %s back: %w", f.Name(), err)
	}
	return errors.Join(err, f.Close())
}

func open(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// still gives the locked file back if it is what the path names.
func still(f *os.File, path string) (*os.File, error) {
	locked, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if now, err := os.Lstat(path); err != nil || !os.SameFile(locked, now) {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, fs.ErrNotExist), f.Close())
	}
	return f, nil
}
