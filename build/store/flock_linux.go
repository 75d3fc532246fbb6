package store

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Flock takes the lock of a file (flock(2)), and waits for it, unless how has LOCK_NB, until the context ends.
func Flock(ctx context.Context, f *os.File, how int) error {
	if err := flock(f, how|unix.LOCK_NB); how&unix.LOCK_NB != 0 || !errors.Is(err, unix.EWOULDBLOCK) {
		return err
	}
	got := make(chan error, 1)
	go func() { got <- flock(f, how) }()
	select {
	case err := <-got:
		return err
	case <-ctx.Done():
		// The goroutine ends when it gets the lock, which is given back at once: the caller has closed the file.
		return context.Cause(ctx)
	}
}

// flock is Flock for locks that are held for moments only.
func flock(f *os.File, how int) error {
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), how)
	}
	return err
}
