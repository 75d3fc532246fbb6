package flock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// A Convertible is an open file whose locks are those of fcntl(2) and not of flock(2): nobody can take the lock while
// it is converted from one kind to the other, where flock(2) gives it back first. Locks of one sort don't see those of
// the other, so a file must have one sort only. In all else they are like the package's others.
type Convertible struct{ *os.File }

// Lock is like the function Lock. A lock that can't be converted yet stays as it is meanwhile.
func (c Convertible) Lock(ctx context.Context, kind Kind) error {
	return wait(ctx, func() (bool, error) { return c.Try(kind) })
}

// Try is like the function Try. A lock that can't be converted stays as it is.
func (c Convertible) Try(kind Kind) (bool, error) {
	how := int16(unix.F_RDLCK)
	if kind == Exclusive {
		how = unix.F_WRLCK
	}
	err := c.set(how)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
		return false, nil
	case errors.Is(err, unix.ENOLCK), errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.EINVAL):
		return false, fmt.Errorf("lock %s: %w", c.Name(), ErrUnsupported)
	}
	return false, fmt.Errorf("lock %s: %w", c.Name(), err)
}

// Release is like the function Release.
func (c Convertible) Release() error {
	err := c.set(unix.F_UNLCK)
	if err != nil {
		err = fmt.Errorf("give the lock of %s back: %w", c.Name(), err)
	}
	return errors.Join(err, c.Close())
}

// set sets the lock of the whole file.
func (c Convertible) set(how int16) error {
	return fsys.Retry0(func() error {
		return unix.FcntlFlock(c.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: how, Whence: io.SeekStart})
	})
}
