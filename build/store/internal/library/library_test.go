package library

import (
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestABrokenLibraryLetsNobodyWait: it panics with locks that it never gives back.
func TestABrokenLibraryLetsNobodyWait(t *testing.T) {
	l := &Library{broken: make(chan struct{})}
	never := make(chan struct{})
	waiting := make(chan error, 1)
	entered := make(chan struct{})
	go func() {
		waiting <- l.do(func() error {
			close(entered)
			<-never
			return nil
		})
	}()
	<-entered
	if err := l.do(func() error { return io.EOF }); !errors.Is(err, io.EOF) {
		t.Errorf("an error comes out as %v", err)
	}
	for range 2 {
		broken := new(BrokenError)
		if err := l.do(func() error { panic(error(unix.EIO)) }); !errors.As(err, &broken) || !errors.Is(err, unix.EIO) {
			t.Errorf("a panic comes out as %v", err)
		}
	}
	select {
	case err := <-waiting:
		if !errors.Is(err, unix.EIO) {
			t.Errorf("who waited gets %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("who waited for the library still waits")
	}
}
