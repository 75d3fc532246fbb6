package library

import (
	"errors"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
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

// half is an archive that somebody else still writes until its end has been read.
type half struct {
	io.Reader
	writing, closed bool
}

func (h *half) Read(p []byte) (int, error) {
	n, err := h.Reader.Read(p)
	h.writing = err == nil
	return n, err
}

func (h *half) Close() error {
	if h.closed = true; h.writing {
		return errors.New("closed while it was written")
	}
	return nil
}

// TestAnArchiveIsClosedWhenNobodyWritesItAnyMore whether it was read to its end, in part, or not at all.
func TestAnArchiveIsClosedWhenNobodyWritesItAnyMore(t *testing.T) {
	damaged := errors.New("the archive is damaged")
	for name, rest := range map[string]io.Reader{"whole": strings.NewReader(""), "damaged": iotest.ErrReader(damaged)} {
		for _, n := range []int64{0, 1, 6, 7, 100} {
			from := &half{Reader: io.MultiReader(strings.NewReader("archive"), rest), writing: true}
			d := &diff{ReadCloser: from}
			got, err := io.CopyN(io.Discard, d, n)
			if want := min(n, 7); got != want || n > 7 && err == nil || n <= 7 && err != nil {
				t.Errorf("%s: %d of %d bytes are read, %v", name, got, n, err)
			}
			if err := d.Close(); err != nil || !from.closed {
				t.Errorf("%s, after %d bytes: %v", name, n, err)
			}
		}
	}
}
