package removal_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// listed are the store's items of a kind.
func listed(t *testing.T, d *depot.Depot, look removal.Look, kind disk.Kind) (items []disk.Item) {
	t.Helper()
	all, err := d.Removal.Items(t.Context(), look)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Kind == kind {
			items = append(items, i)
		}
	}
	return items
}

// mount makes a cache mount with a file of a size in bytes.
func mount(t *testing.T, d *depot.Depot, size int) (dir string) {
	t.Helper()
	dir, lock, err := d.Store.Parts().Uses.OpenMount(t.Context(), "key", "0", "go")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Write(t, filepath.Join(dir, "file"), strings.Repeat("x", size))
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSizesAreMeasuredOnceUnlessTheyMayHaveChanged(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	dir := mount(t, d, 1<<20)
	size := func(look removal.Look) int64 {
		t.Helper()
		items := listed(t, d, look, disk.Mounts)
		if len(items) != 1 || items[0].ID != "key/0" || items[0].Label != "go" {
			t.Fatalf("listed: %+v", items)
		}
		return items[0].Size.Bytes
	}
	first := size(removal.LookNoted)
	if first < 1<<20 || first > 2<<20 {
		t.Errorf("measured %d bytes", first)
	}
	storetest.Write(t, filepath.Join(dir, "more"), strings.Repeat("x", 4<<20))
	if got := size(removal.LookNoted); got != first {
		t.Errorf("measured again: %d bytes", got)
	}
	if got := size(removal.LookAll); got < 5<<20 {
		t.Errorf("measured %d bytes", got)
	}
	if err := os.Remove(filepath.Join(dir, "more")); err != nil {
		t.Fatal(err)
	}
	mount(t, d, 1<<20) // who uses it may change it
	if got := size(removal.LookChanged); got != first {
		t.Errorf("measured %d bytes after its use, want %d", got, first)
	}
}

func TestNotesOfLayersThatAreGoneGo(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, d, "", "a")[0]
	if err := d.Store.RemoveLayer(l.ID); err != nil { // another tool does
		t.Fatal(err)
	}
	if items := listed(t, d, removal.LookChanged, disk.Layers); len(items) > 0 {
		t.Errorf("listed: %v", items)
	}
	if !d.Store.Parts().Uses.LastUse(uses.Thing{Kind: uses.Layers, Name: l.ID}).IsZero() {
		t.Error("its note is there")
	}
}

func TestImagesThatStayAreListedWithTheirLayersOnce(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l, _ := storetest.Commit(t, d, "", func(dir string) {
		storetest.Write(t, filepath.Join(dir, "a"), strings.Repeat("x", 1<<20))
	})
	for _, name := range []string{"localhost/a:1", "localhost/b:1"} {
		storetest.Image(t, d, name, []store.Layer{l}, name)
	}
	if items := listed(t, d, removal.LookNoted, disk.Images); len(items) > 0 {
		t.Errorf("what stays is listed without need: %v", items)
	}
	items := listed(t, d, removal.LookAll, disk.Images)
	if len(items) != 2 {
		t.Fatalf("listed: %v", items)
	}
	sizes := []int64{items[0].Size.Bytes, items[1].Size.Bytes}
	slices.Sort(sizes)
	if sizes[0] >= 1<<20 || sizes[1] < 1<<20 {
		t.Errorf("sizes: %v", sizes)
	}
	if items := listed(t, d, removal.LookAll, disk.Layers); len(items) > 0 {
		t.Errorf("layers that could go: %v", items)
	}
}

func TestARecordThatHoldsNoLayerAloneGoes(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, d, "", "a")
	storetest.Image(t, d, "named", l, "localhost/a:1")
	own := storetest.Image(t, d, "own", l)
	items := listed(t, d, removal.LookNoted, disk.Records)
	if len(items) != 1 || items[0].Bound || !removal.IsImageRecord(items[0].ID) || !strings.HasSuffix(items[0].ID, own) {
		t.Fatalf("listed: %+v", items)
	}
	unlock, err := d.Store.Parts().Uses.LockRemoval(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := d.Removal.Remove(t.Context(), items)
	if err := errors.Join(err, unlock()); err != nil || len(gone) != 1 || d.Images.Has(own) {
		t.Errorf("gone: %v, %v", gone, err)
	}
	if _, err := d.Images.Find(t.Context(), "a:1"); err != nil {
		t.Error(err)
	}
}

func TestWhatWasUsedSinceACrashGoes(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	young := mount(t, d, 1)
	old, lock, err := d.Store.Parts().Uses.OpenMount(t.Context(), "old", "0", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(d.Store.Paths().Own, "uses", "mounts", "old.0"), long, long); err != nil {
		t.Fatal(err)
	}
	storetest.Write(t, young+".made", "")
	if err := d.Removal.RemoveYounger(t.Context(), time.Now().Add(-time.Minute)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{young: false, young + ".made": false, young + ".lock": false, old: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestTheReserveIsMadeByBuildsAndGivenUpOnce(t *testing.T) {
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	files := func() int {
		entries, err := os.ReadDir(filepath.Join(d.Store.Paths().Own, "reserve"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return len(entries)
	}
	if err := d.Removal.UseReserve(); err != nil || files() != 0 {
		t.Errorf("there is none: %v", err)
	}
	for range 2 {
		end, err := d.Removal.BeginBuild(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := end(); err != nil || files() == 0 {
			t.Errorf("a build made a reserve of %d files, %v", files(), err)
		}
	}
	if err := d.Removal.UseReserve(); err != nil || files() != 0 {
		t.Errorf("%d files are left, %v", files(), err)
	}
}
