package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/store"
)

// TestAStoreIsLocatedWithoutBeingMade and its directories and those it looks into are named.
func TestAStoreIsLocatedWithoutBeingMade(t *testing.T) {
	root := filepath.Join(t.TempDir(), "store")
	o := store.Options{Root: root, Driver: "overlay",
		DriverOptions: []string{"overlay.imagestore=/a", "overlay.mountopt=nodev", "overlay.imagestore=/b"}}
	at, err := store.Locate(o)
	if diff := cmp.Diff(store.Location{Root: root, RunRoot: filepath.Join(root, "run"), Driver: "overlay"},
		at); diff != "" ||
		err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	dirs, err := store.Dirs(o)
	if diff := cmp.Diff([]string{root, "/a", "/b"}, dirs); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, want := range []bool{false, true} {
		if there, err := store.Exists(o); there != want || err != nil {
			t.Errorf("there: %v, %v", there, err)
		}
		if err := os.MkdirAll(root, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("it has %v, %v", left, err)
	}
}

// TestADriverThatThereIsNotIsRefusedBeforeAnythingIsMade by all who ask for a store.
func TestADriverThatThereIsNotIsRefusedBeforeAnythingIsMade(t *testing.T) {
	o := store.Options{Root: filepath.Join(t.TempDir(), "store"), Driver: "zfs"}
	_, errLocate := store.Locate(o)
	_, errDirs := store.Dirs(o)
	_, errExists := store.Exists(o)
	_, errOpen := store.Open(t.Context(), o)
	for name, err := range map[string]error{"locate": errLocate, "dirs": errDirs, "exists": errExists, "open": errOpen} {
		if e := new(store.OpenError); !errors.As(err, &e) || e.Hint == "" || e.Problem != `there is no storage driver "zfs"` {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(o.Root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the store: %v", err)
	}
}
