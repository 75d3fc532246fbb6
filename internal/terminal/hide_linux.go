package terminal

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Hide has a terminal not show what is typed, until the returned function is called.
func Hide(f *os.File) (restore func() error, err error) {
	var before *unix.Termios
	err = control(f, func(fd int) error {
		if before, err = unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
			return err
		}
		hidden := *before
		hidden.Lflag &^= unix.ECHO
		return unix.IoctlSetTermios(fd, unix.TCSETS, &hidden)
	})
	if err != nil {
		return nil, fmt.Errorf("hide what is typed: %w", err)
	}
	return func() error {
		return control(f, func(fd int) error { return unix.IoctlSetTermios(fd, unix.TCSETS, before) })
	}, nil
}
