package fsys

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// WithUmask calls a function on an OS thread that has a umask of its own: the process's holds for the files that other goroutines
// make. Goroutines that f starts don't have it; programs that it starts do, and the thread lives as long as f runs, so that their parent
// death signal doesn't come before.
func WithUmask(mask int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			done <- fmt.Errorf("set umask: %w", err)
			return
		}
		unix.Umask(mask)
		done <- f()
	}()
	return <-done
}
