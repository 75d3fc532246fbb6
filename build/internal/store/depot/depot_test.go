package depot_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// TestWhatAKilledBuildLeftGoesBeforeTheStoreIsUsed makes by hand what a build leaves that is killed while it records an
// image, and opens the store again.
func TestWhatAKilledBuildLeftGoesBeforeTheStoreIsUsed(t *testing.T) {
	o := store.Options{Driver: "overlay", Root: t.TempDir()}
	d, err := depot.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	l := storetest.Stack(t, d, "", "a")
	half := strings.Repeat("12", 32)
	if _, err := library.Of(d.Store.Parts().Library).CreateImage(half, nil, l[0].ID, "",
		&storage.ImageOptions{Flags: map[string]any{"cooper": true}}); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Minute)
	left := []string{filepath.Join(d.Store.Paths().Own, "builds", "dead"),
		filepath.Join(d.Store.Paths().Own, "tmp", "dead")}
	if err := errors.Join(os.MkdirAll(filepath.Dir(left[0]), 0o700), os.WriteFile(left[0], nil, 0o600),
		os.Mkdir(left[1], 0o700), os.Chtimes(left[1], long, long), d.Close()); err != nil {
		t.Fatal(err)
	}
	d = storetest.Open(t, o)
	for _, path := range left {
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	if d.Images.Has(half) {
		t.Error("half an image is left")
	}
	if _, err := d.Store.Layer(l[0].ID); err != nil {
		t.Errorf("its layer is gone: %v", err)
	}
}

func TestAStoreThatIsNoDirectoryIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := depot.Open(t.Context(), store.Options{Driver: "overlay", Root: path})
	if told := new(store.OpenError); !errors.As(err, &told) || !strings.Contains(told.Problem, path) || told.Hint == "" {
		t.Errorf("got %v", err)
	}
}
