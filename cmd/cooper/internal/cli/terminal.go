package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// isTerminal tells whether somebody sits at the other end of a file. /dev/null is a character device too, but no
// terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
