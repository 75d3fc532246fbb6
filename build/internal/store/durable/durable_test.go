package durable_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/durable"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.OnDisk(m.Run, store.HandleReexec)) }

func open(t *testing.T) *depot.Depot {
	t.Helper()
	return storetest.Open(t, store.Options{Driver: "overlay"})
}

func record(t *testing.T, d *depot.Depot, id string) *storage.Layer {
	t.Helper()
	l, err := library.Of(d.Store.Parts().Library).Layer(id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// note is what the note says of layers, in bytes.
func note(t *testing.T, d *depot.Depot) (layers, damaged int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.Store.Paths().Own, "synced"))
	if err != nil {
		t.Fatal(err)
	}
	var n struct{ Layers, Damaged []byte }
	if err := json.Unmarshal(text, &n); err != nil {
		t.Fatal(err)
	}
	return len(n.Layers), len(n.Damaged)
}

func TestLayersAreOnTheDiskOnceThatWasAskedFor(t *testing.T) {
	d := open(t)
	r := d.Store.Parts().Durable
	l := storetest.Stack(t, d, "", "a", "b")
	if r.Synced(record(t, d, l[0].ID)) {
		t.Error("a layer that was just made is on the disk already")
	}
	if err := r.Make(t.Context(), l[0].ID); err != nil {
		t.Fatal(err)
	}
	for _, one := range l { // everything is written at once
		if !r.Synced(record(t, d, one.ID)) {
			t.Errorf("%s isn't on the disk", one.ID)
		}
	}
	if layers, damaged := note(t, d); layers != 16 || damaged != 0 {
		t.Errorf("noted: %d and %d bytes", layers, damaged)
	}
	before, err := os.Stat(filepath.Join(d.Store.Paths().Own, "synced"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Make(t.Context(), l[1].ID); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(filepath.Join(d.Store.Paths().Own, "synced")); err != nil || !os.SameFile(before, after) {
		t.Errorf("what is on the disk was written once more: %v", err)
	}
}

func TestWhatAnotherProcessHasWrittenIsNotWrittenAgain(t *testing.T) {
	d := open(t)
	l := storetest.Stack(t, d, "", "a")
	if err := d.Store.Parts().Durable.Make(t.Context(), l[0].ID); err != nil {
		t.Fatal(err)
	}
	other, err := durable.Open(library.Of(d.Store.Parts().Library))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
	same, at, err := other.Read()
	if err != nil || !same || time.Since(at) > time.Hour || !other.Synced(record(t, d, l[0].ID)) {
		t.Errorf("same: %v, at %s, %v", same, at, err)
	}
}

func TestALayerThatIsMadeAnewIsAnother(t *testing.T) {
	d := open(t)
	l := storetest.Stack(t, d, "", "a")[0]
	if err := d.Store.Parts().Durable.Make(t.Context(), l.ID); err != nil {
		t.Fatal(err)
	}
	if err := d.Store.RemoveLayer(l.ID); err != nil {
		t.Fatal(err)
	}
	again := storetest.Stack(t, d, "", "a")[0]
	if again.ID != l.ID || d.Store.Parts().Durable.Synced(record(t, d, l.ID)) {
		t.Error("it counts as the one that was written to the disk")
	}
}

func TestADamagedLayerIsNoneUntilItIsGone(t *testing.T) {
	d := open(t)
	r := d.Store.Parts().Durable
	l := storetest.Stack(t, d, "", "a", "b")
	unlock, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.Condemn(record(t, d, l[1].ID))
	if err := errors.Join(r.Sync(), unlock()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Store.Layer(l[1].ID); !errors.Is(err, store.ErrNoLayer) {
		t.Errorf("the damaged layer: %v", err)
	}
	if _, err := d.Store.Layer(l[0].ID); err != nil {
		t.Error(err)
	}
	if layers, damaged := note(t, d); layers != 8 || damaged != 8 {
		t.Errorf("noted: %d and %d bytes", layers, damaged)
	}
	if err := d.Store.RemoveLayer(l[1].ID); err != nil {
		t.Fatal(err)
	}
	if unlock, err = r.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Sync(), unlock()); err != nil {
		t.Fatal(err)
	}
	if layers, damaged := note(t, d); layers != 8 || damaged != 0 {
		t.Errorf("noted: %d and %d bytes", layers, damaged)
	}
}

func TestANoteThatCannotBeReadTellsNothing(t *testing.T) {
	d := open(t)
	l := storetest.Stack(t, d, "", "a")[0]
	r := d.Store.Parts().Durable
	if err := r.Make(t.Context(), l.ID); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.Store.Paths().Own, "synced")
	for _, text := range []string{"{", `{"uptime":"another","layers":"AAAA"}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if same, _, err := r.Read(); err != nil || same || r.Synced(record(t, d, l.ID)) {
			t.Errorf("%s: same: %v, %v", text, same, err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Read(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a note: %v", err)
	}
}

func TestWaitingForTheDiskCanBeInterrupted(t *testing.T) {
	d := open(t)
	l := storetest.Stack(t, d, "", "a")[0]
	unlock, err := d.Store.Parts().Durable.Lock(t.Context()) // another process writes
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("the user wants no more")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := d.Store.Parts().Durable.Make(ctx, l.ID); !errors.Is(err, why) {
		t.Errorf("got %v, want the context's cause", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
}

func TestRecordsOfImagesAreWrittenOnce(t *testing.T) {
	d := open(t)
	l := storetest.Stack(t, d, "", "a")
	storetest.Image(t, d, "", l, "localhost/a:1")
	recorded := &library.Of(d.Store.Parts().Library).Recorded
	if !recorded.Load() {
		t.Error("nobody was told of the image")
	}
	if err := d.Store.Parts().Durable.Settle(); err != nil || recorded.Load() {
		t.Errorf("still to be written: %v, %v", recorded.Load(), err)
	}
	if err := d.Store.Parts().Durable.Settle(); err != nil {
		t.Error(err)
	}
}

// broken makes the files of a store as a crash leaves them.
func broken(t *testing.T, files map[string]string) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		long := time.Now().Add(-time.Hour)
		if err := os.Chtimes(path, long, long); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestRepairLooksOnlyAfterACrash(t *testing.T) {
	t.Parallel()
	const list = "overlay-images/images.json"
	root := broken(t, map[string]string{list: "["}) // a store that never was ours
	if aside, err := durable.Repair(root); err != nil || len(aside) > 0 {
		t.Errorf("%v, %v", aside, err)
	}
	if _, err := os.Lstat(filepath.Join(root, list)); err != nil {
		t.Error(err)
	}
}

func TestRepairSetsAsideWhatTheLibraryCannotRead(t *testing.T) {
	t.Parallel()
	root := broken(t, map[string]string{
		"cooper/synced":                       `{"uptime":"another"}`,
		"overlay-images/images.json":          `[{"id":`,
		"overlay-layers/layers.json":          `[]`,
		"overlay-layers/volatile-layers.json": "\x00\x00",
		"overlay-containers/containers.json":  "",
		"overlay/aaa/link":                    "",
		"overlay/bbb/link":                    strings.Repeat("B", 26),
		"overlay/ccc/link":                    "../../../../../../etc/passwd",
		"overlay/ccc/diff/file":               "",
	})
	aside, err := durable.Repair(root)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(aside)
	want := []string{
		filepath.Join(root, "overlay-containers/containers.json.damaged"),
		filepath.Join(root, "overlay-images/images.json.damaged"),
	}
	if !slices.Equal(aside, want) {
		t.Errorf("set aside: %v", aside)
	}
	for name, there := range map[string]bool{
		"overlay-images/images.json": false, "overlay-layers/layers.json": true,
		"overlay-layers/volatile-layers.json": false, "overlay/aaa/link": false, "overlay/bbb/link": true,
		"overlay/ccc/link": false, "overlay/ccc/diff/file": true,
	} {
		if _, err := os.Lstat(filepath.Join(root, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
	to, err := os.Readlink(filepath.Join(root, "overlay/l", strings.Repeat("B", 26)))
	if err != nil || to != "../bbb/diff" {
		t.Errorf("link to %q, %v", to, err)
	}
	// Once more there is nothing to do.
	if aside, err := durable.Repair(root); err != nil || len(aside) > 0 {
		t.Errorf("again: %v, %v", aside, err)
	}
}

func TestRepairLeavesLinksThatAreBeingWritten(t *testing.T) {
	t.Parallel()
	root := broken(t, map[string]string{"cooper/synced": `{"uptime":"another"}`, "overlay/aaa/link": ""})
	path := filepath.Join(root, "overlay/aaa/link")
	soon := time.Now().Add(time.Minute)
	if err := os.Chtimes(path, soon, soon); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.Repair(root); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}
