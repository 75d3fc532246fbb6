package fsys

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/guard"
)

// WithUmask calls a function on an OS thread that has a umask of its own: the process's holds for the files that other
// goroutines make. Goroutines that f starts don't have it; programs that it starts do, and the thread lives as long as
// f runs, so that their parent death signal doesn't come before.
func WithUmask(mask int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The runtime never ends the first thread, whose umask /proc/self shows. While it is held here, the next goroutine
			// gets another one.
			done <- WithUmask(mask, f)
			runtime.UnlockOSThread()
			return
		}
		// The thread is never unlocked: it ends with the goroutine.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("set umask: %w", err)
			return
		}
		unix.Umask(mask)
		done <- guard.Call(f)
	}()
	return <-done
}
