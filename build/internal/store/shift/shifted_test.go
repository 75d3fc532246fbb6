package shift_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/shift"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/userns"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// mapTo is a map of all IDs up to a length: 0 to first, 1 to first+1, and so on.
func mapTo(first, length uint32) userns.Mapping {
	ids := userns.Map{{Host: first, Length: length}}
	return userns.Mapping{UIDs: ids, GIDs: ids}
}

func copies(t *testing.T, root string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "cooper/shifted/*/*/f"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestMapsThatAgreeOnALayersOwnersShareItsCopy(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Root: root, Driver: "overlay"})
	l, _ := storetest.Commit(t, s, "", func(dir string) {
		storetest.Write(t, filepath.Join(dir, "f"), "f")
		if err := os.Chown(filepath.Join(dir, "f"), 7, 8); err != nil {
			t.Fatal(err)
		}
	})
	first := ""
	for i, length := range []uint32{100, 1000, 50000} {
		dir, err := shift.New(s.Store).Dir(t.Context(), l.ID, mapTo(5, length))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = dir
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, "f"), &st); err != nil || st.Uid != 12 || st.Gid != 13 {
			t.Errorf("%d:%d, %v", st.Uid, st.Gid, err)
		}
		if dir != first {
			t.Errorf("a map of %d IDs has a copy of its own", length)
		}
	}
	if _, err := shift.New(s.Store).Dir(t.Context(), l.ID, mapTo(6, 100)); err != nil {
		t.Fatal(err)
	}
	if n := len(copies(t, root)); n != 2 {
		t.Errorf("%d copies", n)
	}
	if dir, err := shift.New(s.Store).Dir(t.Context(), l.ID, mapTo(0, 100)); err != nil || filepath.Base(dir) != "diff" {
		t.Errorf("%q %v", dir, err)
	}
	if _, err := shift.New(s.Store).Dir(t.Context(), l.ID, mapTo(0, 8)); !errors.Is(err, userns.ErrUnmapped) {
		t.Error(err)
	}
}

// TestCopyStaysWhileABuildRunsOnIt removes the layer as another tool would, and opens the store as another build does.
func TestCopyStaysWhileABuildRunsOnIt(t *testing.T) {
	root := t.TempDir()
	s := storetest.Open(t, store.Options{Root: root, Driver: "overlay"})
	end, err := s.Removal.BeginBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l, _ := storetest.Commit(t, s, "", func(dir string) { storetest.Write(t, filepath.Join(dir, "f"), "f") })
	if _, err := shift.New(s.Store).Dir(t.Context(), l.ID, mapTo(5, 100)); err != nil {
		t.Fatal(err)
	}
	if err := s.Store.RemoveLayer(l.ID); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, store.Options{Root: root, Driver: "overlay"})
	locks, _ := filepath.Glob(filepath.Join(root, "cooper/shifted/*/*.lock"))
	if len(copies(t, root)) != 1 || len(locks) != 1 {
		t.Errorf("while the build runs: copies %q, locks %q", copies(t, root), locks)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, store.Options{Root: root, Driver: "overlay"})
	left, _ := filepath.Glob(filepath.Join(root, "cooper/shifted/*"))
	owners, _ := filepath.Glob(filepath.Join(root, "cooper/owners/*"))
	if len(left)+len(owners) != 0 {
		t.Errorf("after the build: %q %q", left, owners)
	}
}

// TestCopyOfALayerInAnotherStoreStays has a layer that this store only looks up in an additional one.
func TestCopyOfALayerInAnotherStoreStays(t *testing.T) {
	made, images, root := t.TempDir(), filepath.Join(t.TempDir(), "images"), t.TempDir()
	l, _ := storetest.Commit(t, storetest.Open(t, store.Options{Root: made, Driver: "overlay"}), "",
		func(dir string) { storetest.Write(t, filepath.Join(dir, "f"), "f") })
	// One process can't have a store open both to write and to read.
	if out, err := exec.Command("cp", "-a", made, images).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o := store.Options{Root: root, Driver: "overlay", DriverOptions: []string{"overlay.imagestore=" + images}}
	if _, err := shift.New(storetest.Open(t, o).Store).Dir(t.Context(), l.ID, mapTo(5, 100)); err != nil {
		t.Fatal(err)
	}
	storetest.Open(t, o)
	if len(copies(t, root)) != 1 {
		t.Errorf("copies %q", copies(t, root))
	}
}
