package imagetar

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// openFile opens a file for reading. A named pipe that nobody writes to yet is opened at once: its reader waits.
func openFile(name string) (*os.File, error) {
	fd, err := fsys.Retry(func() (int, error) { return unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0) })
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// waiting reads a pipe, terminal or file, and ends with its context even if nothing comes.
type waiting struct {
	*os.File
	ctx context.Context //nolint:containedctx // a reader has no other way to be told
}

// pollEvery is how long nothing may come until the context is looked at, in milliseconds.
const pollEvery = 100

func (w waiting) Read(p []byte) (n int, err error) {
	conn, err := w.SyscallConn()
	if err != nil {
		return 0, err
	}
	for ready := 0; ready == 0; {
		if w.ctx.Err() != nil {
			return 0, context.Cause(w.ctx)
		}
		controlErr := conn.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			ready, err = fsys.Retry(func() (int, error) { return unix.Poll(fds, pollEvery) })
		})
		if err = errors.Join(controlErr, err); err != nil {
			return 0, err
		}
	}
	return w.File.Read(p)
}
