package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/durable"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// TestManyThatWriteOutTheDiskLoseNothingOfEachOther as builds do that end at the same time.
func TestManyThatWriteOutTheDiskLoseNothingOfEachOther(t *testing.T) {
	d := open(t)
	lib := library.Of(d.Store.Parts().Library)
	const many = 6
	records := make([]*durable.Record, many)
	var layers []store.Layer
	for n := range records {
		layers = append(layers, storetest.Stack(t, d, "", string(rune('a'+n)))...)
		r, err := durable.Open(lib)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		records[n] = r
	}
	var group sync.WaitGroup
	for n, r := range records {
		group.Go(func() {
			if err := r.Make(t.Context(), layers[n].ID); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	fresh, err := durable.Open(lib)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fresh.Close() })
	if same, _, err := fresh.Read(); err != nil || !same {
		t.Errorf("the note is of another mount: %v, %v", !same, err)
	}
	for _, l := range layers {
		if !fresh.Synced(record(t, d, l.ID)) {
			t.Errorf("layer %s isn't noted", l.ID)
		}
	}
	if left, err := filepath.Glob(filepath.Join(d.Store.Paths().Own, ".new-*")); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

// TestALayerThatSomebodyStillWritesIsNotNoted since the disk may have a part of it.
func TestALayerThatSomebodyStillWritesIsNotNoted(t *testing.T) {
	d := open(t)
	lib := library.Of(d.Store.Parts().Library)
	whole := storetest.Stack(t, d, "", "whole")[0]
	writable, err := lib.CreateLayer(strings.Repeat("ab", 32), whole.ID, nil, "", true,
		&storage.LayerOptions{IDMappingOptions: store.HostIDs()})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Store.Parts().Durable.Make(t.Context(), whole.ID); err != nil {
		t.Fatal(err)
	}
	if r := d.Store.Parts().Durable; !r.Synced(record(t, d, whole.ID)) || r.Synced(record(t, d, writable.ID)) {
		t.Errorf("noted: %v, and what is written %v", r.Synced(record(t, d, whole.ID)), r.Synced(record(t, d, writable.ID)))
	}
	if layers, _ := note(t, d); layers != 8 {
		t.Errorf("the note has %d bytes", layers)
	}
}

// TestANoteThatCannotBeWrittenIsToldAndWrittenNextTime and until then nothing counts as written.
func TestANoteThatCannotBeWrittenIsToldAndWrittenNextTime(t *testing.T) {
	d := open(t)
	l := storetest.Stack(t, d, "", "a")[0]
	path := filepath.Join(d.Store.Paths().Own, "synced")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	r := d.Store.Parts().Durable
	if err := r.Make(t.Context(), l.ID); err == nil || !strings.HasPrefix(err.Error(), "write layers to the disk: ") {
		t.Errorf("got %v", err)
	}
	if r.Synced(record(t, d, l.ID)) {
		t.Error("the layer counts as written")
	}
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := r.Make(t.Context(), l.ID); err != nil || !r.Synced(record(t, d, l.ID)) {
		t.Errorf("written: %v, %v", r.Synced(record(t, d, l.ID)), err)
	}
	if layers, _ := note(t, d); layers != 8 {
		t.Errorf("the note has %d bytes", layers)
	}
}

// TestARepairByTwoAtOnceIsOne as when two builds are the first after a crash.
func TestARepairByTwoAtOnceIsOne(t *testing.T) {
	t.Parallel()
	files := map[string]string{"cooper/synced": `{"uptime":"another"}`, "overlay-images/images.json": "["}
	for _, id := range []string{"a", "b", "c", "d"} {
		files["overlay/"+id+"/link"] = strings.Repeat(strings.ToUpper(id), 26)
		files["overlay/"+id+"x/link"] = "" // lost
	}
	root := broken(t, files)
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			if _, err := durable.Repair(root); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for _, id := range []string{"a", "b", "c", "d"} {
		to, err := os.Readlink(filepath.Join(root, "overlay/l", strings.Repeat(strings.ToUpper(id), 26)))
		if err != nil || to != "../"+id+"/diff" {
			t.Errorf("the link of %s leads to %q, %v", id, to, err)
		}
		if _, err := os.Lstat(filepath.Join(root, "overlay", id+"x", "link")); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the empty one of %sx: %v", id, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(root, "overlay-images/images.json.damaged")); err != nil {
		t.Error(err)
	}
}
