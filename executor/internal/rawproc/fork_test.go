package rawproc_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// A child that is started while a file is open for writing would keep it open. Its first call tells whether it has the
// descriptor.
func TestNoChildIsClonedWhileAFileIsOpen(t *testing.T) {
	const descriptor = 900 // nobody else's
	opened, started := make(chan struct{}), make(chan error)
	go func() {
		<-opened
		var p rawproc.Program
		p.Add(rawproc.Op{Doing: "see that it isn't there", Trap: unix.SYS_CLOSE, Args: [6]uintptr{descriptor},
			Ignore: rawproc.Ignoring(unix.EBADF)})
		p.Add(rawproc.Op{Doing: "end", Trap: unix.SYS_EXIT_GROUP})
		c, err := p.Start(0)
		if err == nil {
			_, _, err = c.Reap()
			if p.Result(0) == 0 {
				err = os.ErrExist
			}
		}
		started <- err
	}()
	err := rawproc.WithoutFork(func() error {
		if err := unix.Dup3(2, descriptor, unix.O_CLOEXEC); err != nil {
			return err
		}
		close(opened)
		time.Sleep(100 * time.Millisecond) // nothing tells of a child that doesn't wait
		return unix.Close(descriptor)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
}
