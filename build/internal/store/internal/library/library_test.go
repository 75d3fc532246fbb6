package library

import (
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// TestABrokenLibraryLetsNobodyWait: it panics with locks that it never gives back.
func TestABrokenLibraryLetsNobodyWait(t *testing.T) {
	l := newFuse()
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

// TestStoresAreOpenedAndGivenBackAtOnce has several in one process: the library keeps one list of them.
func TestStoresAreOpenedAndGivenBackAtOnce(t *testing.T) {
	dir := t.TempDir()
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			root := filepath.Join(dir, strconv.Itoa(i))
			for range 5 {
				l, err := Open(storage.StoreOptions{GraphRoot: root, RunRoot: root + "-run", GraphDriverName: "vfs"})
				if err != nil {
					t.Error(err)
					return
				}
				if got := l.GraphRoot(); got != root {
					t.Errorf("%s is open as %s", root, got)
				}
				l.Free()
			}
		})
	}
	group.Wait()
}
