package terminal

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// MakeRaw has a terminal hand on each key as it is typed, Ctrl-C too, and show nothing by itself. Whoever calls it
// gives the terminal its settings back.
func MakeRaw(f *os.File) error {
	err := control(f, func(fd int) error {
		_, err := term.MakeRaw(fd)
		return err
	})
	if err != nil {
		return fmt.Errorf("make the terminal raw: %w", err)
	}
	return nil
}

// Resize tells a terminal its size, and with a signal those who use it.
func Resize(f *os.File, s Size) error {
	return control(f, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(s.Height), Col: uint16(s.Width)})
	})
}
