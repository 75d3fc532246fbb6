package store_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

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
