package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestALayersStreamIsItsTarAndHoldsUpNoCommit(t *testing.T) {
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			s := storetest.Open(t, store.Options{Driver: driver})
			large := bytes.Repeat([]byte("large"), 100_000)
			l, res := storetest.Commit(t, s, "", func(dir string) {
				storetest.Write(t, filepath.Join(dir, "a"), string(large))
				storetest.Write(t, filepath.Join(dir, "empty"), "")
				if err := errors.Join(os.Symlink("/etc/passwd", filepath.Join(dir, "link")),
					os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "hard"))); err != nil {
					t.Fatal(err)
				}
			})
			rc, err := s.Store.LayerStream(l)
			if err != nil {
				t.Fatal(err)
			}
			if driver == "overlay" { // the library's reader would keep this waiting for ever
				storetest.Commit(t, s, l.ID, func(dir string) { storetest.Write(t, filepath.Join(dir, "b"), "two") })
			}
			text, err := io.ReadAll(rc)
			if err = errors.Join(err, rc.Close()); err != nil {
				t.Fatal(err)
			}
			if got := digest.FromBytes(text); got != res.DiffID {
				t.Errorf("the stream has digest %s, the layer is %s", got, res.DiffID)
			}
		})
	}
}

// TestAStreamMayBeClosedAtAnyTime closes those of both kinds before their end, after each number of bytes and while
// others are read.
func TestAStreamMayBeClosedAtAnyTime(t *testing.T) {
	times := 5
	if testing.Short() {
		times = 2
	}
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			s := storetest.Open(t, store.Options{Driver: driver})
			l, res := storetest.Commit(t, s, "", func(dir string) {
				for n := range 500 {
					storetest.Write(t, filepath.Join(dir, fmt.Sprintf("%03d", n)), strings.Repeat("x", n))
				}
			})
			before := descriptors(t)
			var group sync.WaitGroup
			for _, open := range []func(store.Layer) (io.ReadCloser, error){s.Store.LayerStream, s.Store.LayerTar} {
				for n := range 6 {
					group.Go(func() {
						for at := range times {
							rc, err := open(l)
							if err != nil {
								t.Error(err)
								return
							}
							_, err = io.CopyN(io.Discard, rc, int64(n+at*997))
							if err := errors.Join(err, rc.Close()); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			group.Wait()
			if after := descriptors(t); after > before {
				t.Errorf("%d descriptors are open, %d were", after, before)
			}
			if _, got := storetest.List(t, s, l); got != res.DiffID {
				t.Errorf("the layer has the digest %s then", got)
			}
		})
	}
}

// descriptors counts the open ones of the process.
func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// TestAStreamOfALayerThatWasChangedIsAnError has a file gone, one shorter, one that leads out of the layer, and records
// that are damaged.
func TestAStreamOfALayerThatWasChangedIsAnError(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	storetest.Write(t, secret, "text")
	for name, change := range map[string]func(dir, records string) error{
		"a file is gone":    func(dir, _ string) error { return os.Remove(filepath.Join(dir, "f")) },
		"a file is shorter": func(dir, _ string) error { return os.Truncate(filepath.Join(dir, "f"), 2) },
		"a file is another": func(dir, _ string) error {
			return os.WriteFile(filepath.Join(dir, "f"), []byte("TEXT"),
				0o600)
		},
		"a link leads out": func(dir, _ string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "f")), os.Symlink(secret, filepath.Join(dir, "f")))
		},
		"a pipe nobody writes to": func(dir, _ string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "f")), unix.Mkfifo(filepath.Join(dir, "f"), 0o600))
		},
		"the records are cut": func(_, records string) error {
			info, err := os.Stat(records)
			if err != nil {
				return err
			}
			return os.Truncate(records, info.Size()-9)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, store.Options{Driver: "overlay"})
			l, _ := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "f"), "text") })
			dir, err := s.Store.DiffDir(l.ID)
			if err != nil {
				t.Fatal(err)
			}
			if err := change(dir, filepath.Join(s.Store.Paths().Root, "overlay-layers", l.ID+".tar-split.gz")); err != nil {
				t.Fatal(err)
			}
			before := descriptors(t)
			rc, err := s.Store.LayerStream(l)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(rc)
			if err := rc.Close(); err != nil {
				t.Error(err)
			}
			if err == nil {
				t.Errorf("%d bytes are the layer's", len(text))
			}
			if after := descriptors(t); after > before {
				t.Errorf("%d descriptors are open, %d were", after, before)
			}
		})
	}
}

// TestWithoutItsRecordsALayersStreamIsMadeAnew as for a layer that podman has made without them, and for records that
// aren't compressed.
func TestWithoutItsRecordsALayersStreamIsMadeAnew(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	l, _ := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "f"), "text") })
	records := filepath.Join(s.Store.Paths().Root, "overlay-layers", l.ID+".tar-split.gz")
	if err := os.Remove(records); err != nil {
		t.Fatal(err)
	}
	rc, err := s.Store.LayerStream(l)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(rc)
	if err := errors.Join(err, rc.Close()); err != nil || !bytes.Contains(text, []byte("text")) {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if err := os.WriteFile(records, []byte("no gzip"), 0o600); err != nil {
		t.Fatal(err)
	}
	if rc, err := s.Store.LayerStream(l); err == nil {
		t.Errorf("records that can't be read give a stream: %v", rc.Close())
	}
	missing := l
	missing.ID = strings.Repeat("0", 64)
	if _, err := s.Store.LayerStream(missing); err == nil {
		t.Error("a layer that isn't there has a stream")
	}
}
