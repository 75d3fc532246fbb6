// Package terminal says of an open file whether it is a terminal, and how large that is. It is the one place that
// decides so: /dev/null is a character device too, but nobody sits behind it.
package terminal

import (
	"fmt"
	"os"

	"golang.org/x/term"
)

// Size is a terminal's width and height in cells.
type Size struct{ Width, Height int }

// fallback is the size of a terminal that doesn't know its own.
func fallback() Size { return Size{Width: 80, Height: 24} }

// Is tells whether the file is a terminal.
func Is(f *os.File) bool {
	is := false
	err := control(f, func(fd int) error {
		is = term.IsTerminal(fd)
		return nil
	})
	return is && err == nil
}

// SizeOf asks the terminal; what isn't one gives an error. A terminal that doesn't know is 80 by 24.
func SizeOf(f *os.File) (Size, error) {
	s := fallback()
	err := control(f, func(fd int) error {
		width, height, err := term.GetSize(fd)
		if err == nil && width > 0 && height > 0 {
			s = Size{width, height}
		}
		return err
	})
	if err != nil {
		return Size{}, fmt.Errorf("read terminal size: %w", err)
	}
	return s, nil
}

// control calls with the descriptor. File.Fd would make a non-blocking file blocking.
func control(f *os.File, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if controlErr := conn.Control(func(fd uintptr) { err = call(int(fd)) }); controlErr != nil {
		return controlErr
	}
	return err
}
