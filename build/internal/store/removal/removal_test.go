package removal_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
)

// image records an image, without a name if it is given none.
func image(t *testing.T, s *depot.Depot, layers []store.Layer, names ...string) string {
	t.Helper()
	config := ocispec.Image{Author: t.Name(), RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	config.OS, config.Architecture = "linux", "amd64"
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	id, _, err := s.Images.Put(t.Context(), images.Record{Config: raw, Layers: layers, Names: names,
		Created: time.Unix(1, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// layerItems lists the layers that can go.
func layerItems(t *testing.T, s *depot.Depot) (items []disk.Item) {
	t.Helper()
	all, err := s.Removal.Items(t.Context(), removal.LookAll)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Kind == disk.Layers {
			items = append(items, i)
		}
	}
	return items
}

// remove removes those of the items that are layers with these IDs, in that order, and returns the IDs of what is gone.
func remove(t *testing.T, s *depot.Depot, items []disk.Item, layers ...store.Layer) (gone []string) {
	t.Helper()
	var chosen []disk.Item
	for _, l := range layers {
		n := slices.IndexFunc(items, func(i disk.Item) bool { return i.ID == l.ID })
		if n < 0 {
			t.Fatalf("%s is not among %v", l.ID, items)
		}
		chosen = append(chosen, items[n])
	}
	unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	removed, err := s.Removal.Remove(t.Context(), chosen)
	if err := errors.Join(err, unlock()); err != nil {
		t.Fatal(err)
	}
	for _, i := range removed {
		gone = append(gone, i.ID)
	}
	return gone
}

func has(s *depot.Depot, l store.Layer) bool {
	_, err := s.Store.Layer(l.ID)
	return err == nil
}

func TestALayerGoesWithoutThoseBelow(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, o)
			l := storetest.Stack(t, s, "", "a", "b", "c")
			old := image(t, s, l)
			items := layerItems(t, s)
			if len(items) != 3 || disk.Total(items) == 0 {
				t.Fatalf("listed: %v", items)
			}
			if gone := remove(t, s, items, l[2]); len(gone) != 1 || has(s, l[2]) || !has(s, l[1]) || !has(s, l[0]) ||
				s.Images.Has(old) {
				t.Errorf("gone: %v", gone)
			}
			// An image holds what is left, as other tools want it to be.
			if again := layerItems(t, s); len(again) != 2 {
				t.Errorf("left: %v", again)
			}
			if gone := remove(t, s, items, l[1], l[0]); len(gone) != 2 || has(s, l[1]) || has(s, l[0]) {
				t.Errorf("gone: %v", gone)
			}
			if all, err := s.Removal.Items(t.Context(), removal.LookAll); err != nil || len(all) != 0 {
				t.Errorf("left: %v, %v", all, err)
			}
		})
	}
}

// TestALayerThatAKilledBuildHasMountedGoes mounts a layer to look at it and never unmounts it, as a build does that is
// killed. The library counts it as mounted from then on.
func TestALayerThatAKilledBuildHasMountedGoes(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, o)
			l := storetest.Stack(t, s, "", "a", "b")
			image(t, s, l)
			for range 2 {
				if _, _, err := s.Store.MountLayer(l[1].ID); err != nil {
					t.Fatal(err)
				}
			}
			if gone := remove(t, s, layerItems(t, s), l[1], l[0]); len(gone) != 2 || has(s, l[1]) || has(s, l[0]) {
				t.Errorf("gone: %v", gone)
			}
		})
	}
}

func TestWhatHasANameStays(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	base := storetest.Stack(t, s, "", "a", "b")
	top := storetest.Stack(t, s, base[1].ID, "c")
	image(t, s, append(slices.Clone(base), top...))
	image(t, s, base, "localhost/base:latest")
	items := layerItems(t, s)
	if len(items) != 1 || items[0].ID != top[0].ID || items[0].On != "" {
		t.Fatalf("listed: %v", items)
	}
	// The list is older than the name.
	image(t, s, append(slices.Clone(base), top...), "localhost/top:latest")
	if gone := remove(t, s, items, top[0]); len(gone) != 0 || !has(s, top[0]) {
		t.Errorf("gone: %v", gone)
	}
}

func TestALayerThatOthersStandOnStays(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, s, "", "a", "b")
	image(t, s, l)
	items := layerItems(t, s)
	storetest.Stack(t, s, l[1].ID, "young")
	if gone := remove(t, s, items, l[1], l[0]); len(gone) != 0 || !has(s, l[1]) {
		t.Errorf("gone: %v", gone)
	}
}

func TestWhatABuildUsesStays(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, s, "", "a", "b", "c")
	image(t, s, l)
	items := layerItems(t, s)
	end, err := s.Removal.BeginBuild(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, try := range []struct {
		id, parent string
		want       bool
	}{{l[0].ID, "", true}, {l[1].ID, l[0].ID, true}, {l[2].ID, l[0].ID, false}} {
		if _, ok := s.Store.UseLayer(t.Context(), try.id, try.parent); ok != try.want {
			t.Errorf("layer %s on top of %q can be used: %v", try.id, try.parent, ok)
		}
	}
	oldest, err := s.Store.Parts().Uses.OldestBuild(t.Context())
	if err != nil || oldest.After(time.Now()) {
		t.Errorf("the oldest build began at %v, %v", oldest, err)
	}
	if gone := remove(t, s, items, l[2], l[1], l[0]); len(gone) != 1 || gone[0] != l[2].ID {
		t.Errorf("gone: %v", gone)
	}
	if _, ok := s.Store.UseLayer(t.Context(), l[2].ID, l[1].ID); ok {
		t.Error("a layer that is gone was used")
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	if gone := remove(t, s, items, l[1], l[0]); len(gone) != 2 {
		t.Errorf("gone after the build: %v", gone)
	}
}

func TestWhatAKilledRemovalHasMarkedIsThereAgain(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, s, "", "a")
	image(t, s, l)
	marks := filepath.Join(s.Store.Paths().Own, "uses", "gone")
	if err := errors.Join(os.MkdirAll(marks, 0o700), os.WriteFile(filepath.Join(marks, l[0].ID), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Store.UseLayer(t.Context(), l[0].ID, ""); ok {
		t.Error("a layer that is being removed was used")
	}
	unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Store.Parts().Uses.LockRemoval(t.Context(), false); !errors.Is(err, uses.ErrBusy) {
		t.Errorf("two remove at once: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Store.Parts().Uses.LockRemoval(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("waited after the context had ended: %v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.Store.UseLayer(t.Context(), l[0].ID, ""); !ok {
		t.Error("a layer that is there wasn't used")
	}
}

func TestACacheMountGoesWithItsFiles(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	outside := t.TempDir()
	storetest.Write(t, filepath.Join(outside, "precious"), "x")
	dir, lock, err := s.Store.Parts().Uses.OpenMount(t.Context(), "key", "0", "go")
	if err != nil {
		t.Fatal(err)
	}
	storetest.Write(t, filepath.Join(dir, "object"), "x")
	storetest.Write(t, dir+".made", "")
	if err := errors.Join(lock.Close(), os.Symlink(outside, filepath.Join(dir, "out")),
		os.Symlink(outside, filepath.Join(s.Store.Paths().Own, "mounts", "link"))); err != nil {
		t.Fatal(err)
	}
	items, err := s.Removal.Items(t.Context(), removal.LookNoted)
	if err != nil || len(items) != 1 || items[0].Label != "go" || items[0].ID != "key/0" || items[0].Size.Bytes < 8192 {
		t.Fatalf("listed: %v, %v", items, err)
	}
	unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	gone, err := s.Removal.Remove(t.Context(), items)
	if err := errors.Join(err, unlock()); err != nil || len(gone) != 1 {
		t.Errorf("gone: %v, %v", gone, err)
	}
	if left, err := os.ReadDir(filepath.Join(s.Store.Paths().Own, "mounts")); err != nil || len(left) != 1 ||
		left[0].Name() != "link" {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
		t.Error(err)
	}
}
