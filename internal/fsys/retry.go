package fsys

import (
	"errors"
	"io"

	"golang.org/x/sys/unix"
)

// Retry repeats a call that a signal interrupted (EINTR), as happens on FUSE and network file systems.
func Retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if !errors.Is(err, unix.EINTR) {
			return v, err
		}
	}
}

// Retry0 is Retry for a call that gives nothing but an error.
func Retry0(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// WriteAll writes all of p at the descriptor's offset.
func WriteAll(fd int, p []byte) error {
	return writeAll(p, func(p []byte) (int, error) { return unix.Write(fd, p) })
}

// WriteAllAt writes all of p at an offset in bytes, and leaves the descriptor's own offset alone.
func WriteAllAt(fd int, p []byte, at int64) error {
	return writeAll(p, func(p []byte) (int, error) {
		n, err := unix.Pwrite(fd, p, at)
		at += int64(max(n, 0))
		return n, err
	})
}

func writeAll(p []byte, write func([]byte) (int, error)) error {
	for len(p) > 0 {
		n, err := Retry(func() (int, error) { return write(p) })
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		p = p[n:]
	}
	return nil
}
