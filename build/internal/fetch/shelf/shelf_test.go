package shelf_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/fetch/fetchtest"
	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
)

func TestOpenRemovesWhatAKilledProcessLeft(t *testing.T) {
	t.Parallel()
	c, err := shelf.Open(filepath.Join(t.TempDir(), "fetch"))
	if err != nil {
		t.Fatal(err)
	}
	inUse, remove, err := c.Temp()
	if err != nil {
		t.Fatal(err)
	}
	left := c.Entry(shelf.Temps, "left")
	if err := os.MkdirAll(filepath.Join(left, "entry"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(left, time.Unix(0, 0), time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := shelf.Open(c.Path()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{filepath.Base(inUse)}, fetchtest.Leftovers(t, c)); diff != "" {
		t.Error(diff)
	}
	if err := remove(); err != nil {
		t.Fatal(err)
	}
}
