package fetch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// hold keeps an entry of the cache from being removed, or from being used by anybody else.
type hold struct {
	once sync.Once
	f    *os.File
}

func (h *hold) release() (err error) {
	if h == nil {
		return nil
	}
	h.once.Do(func() { err = h.f.Close() })
	return err
}

const (
	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
	// The time between two looks at a lock that another process has: from the one to the other.
	lockPause, maxLockPause = 5 * time.Millisecond, 200 * time.Millisecond
)

// lock waits for the lock of a file or directory that is there: flock(2), which ends with the process. Waiting inside the
// system call couldn't be cancelled.
func lock(ctx context.Context, path string, how int) (*os.File, error) {
	pause := lockPause
	for {
		f, err := tryLock(path, how)
		if f != nil || err != nil {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
			pause = min(2*pause, maxLockPause)
		}
	}
}

// tryLock returns nil if another process has the lock, and fs.ErrNotExist if nothing is there, or not any more.
func tryLock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	locked, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	// Whoever had the lock may have removed or replaced it.
	now, err := os.Lstat(path)
	if err != nil || !os.SameFile(locked, now) {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, fs.ErrNotExist), f.Close())
	}
	return f, nil
}
