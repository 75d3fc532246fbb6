// Package thread runs functions on operating system threads that must not be used for anything else afterwards.
package thread

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/guard"
)

// OnLost calls f on a thread that ends with it, so that f may change what belongs to the thread: its namespaces, its
// credentials.
func OnLost(f func() error) error {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The runtime never ends the process's first thread, and /proc/self shows what that thread sees. While this
			// goroutine holds it, the goroutine of the next call gets another thread.
			err = OnLost(f)
			runtime.UnlockOSThread()
			return
		}
		err = guard.Call(f) // and the thread is never unlocked
	}()
	<-done
	return err
}
