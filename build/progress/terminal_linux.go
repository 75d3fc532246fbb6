package progress

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// size is a terminal's, in cells.
type size struct{ width, height int }

// terminalSize asks the terminal; what isn't one gives an error. A terminal that doesn't know is 80 by 24.
func terminalSize(f *os.File) (size, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return size{}, fmt.Errorf("read terminal size: %w", err)
	}
	s := size{80, 24}
	// Not f.Fd, which would make a non-blocking file blocking.
	controlErr := conn.Control(func(fd uintptr) {
		var ws *unix.Winsize
		if ws, err = unix.IoctlGetWinsize(int(fd), unix.TIOCGWINSZ); err == nil && ws.Col > 0 && ws.Row > 0 {
			s = size{int(ws.Col), int(ws.Row)}
		}
	})
	if controlErr != nil {
		err = controlErr
	}
	if err != nil {
		return size{}, fmt.Errorf("read terminal size: %w", err)
	}
	return s, nil
}
