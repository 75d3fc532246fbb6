package removal_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

// removeAll removes all layers that can go, the uppermost first.
func removeAll(t *testing.T, s *depot.Depot) error {
	t.Helper()
	unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), true)
	if err != nil {
		return err
	}
	for err == nil {
		var all, gone []disk.Item
		if all, err = s.Removal.Items(t.Context(), removal.LookAll); err != nil || len(all) == 0 {
			break
		}
		all = slices.DeleteFunc(all, func(i disk.Item) bool { return i.Kind != disk.Layers })
		slices.Reverse(all)
		if gone, err = s.Removal.Remove(t.Context(), all); len(gone) == 0 {
			break
		}
	}
	return errors.Join(err, unlock())
}

// TestWhatOthersHoldIsNotFree by a container, by an index, or by having made it.
func TestWhatOthersHoldIsNotFree(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	lib := library.Of(s.Store.Parts().Library)
	own := storetest.Stack(t, s, "", "below", "own")
	held := storetest.Stack(t, s, "", "held")
	indexed := storetest.Stack(t, s, "", "indexed")
	theirs, err := lib.CreateLayer(strings.Repeat("ab", 32), "", nil, "", false,
		&storage.LayerOptions{IDMappingOptions: store.HostIDs()})
	if err != nil {
		t.Fatal(err)
	}

	container := image(t, s, held)
	podman, err := storage.GetStore(storage.StoreOptions{GraphRoot: lib.GraphRoot(), RunRoot: lib.RunRoot(),
		GraphDriverName: "overlay"})
	if err != nil {
		t.Fatal(err)
	}
	defer podman.Free()
	c, err := podman.CreateContainer("", nil, container, "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	member := image(t, s, indexed)
	if _, err := s.Images.PutIndex(t.Context(), images.IndexRecord{Names: []string{"localhost/all:1"},
		Images: []images.IndexedImage{{ID: member,
			Platform: ocispec.Platform{OS: "linux", Architecture: "amd64"}}}}); err != nil {
		t.Fatal(err)
	}

	free := func(id string) bool {
		return slices.ContainsFunc(layerItems(t, s), func(i disk.Item) bool { return i.ID == id })
	}
	for id, want := range map[string]bool{
		own[0].ID: true, own[1].ID: true, held[0].ID: false, indexed[0].ID: false, theirs.ID: false,
	} {
		if free(id) != want {
			t.Errorf("layer %s is free: %v", id, !want)
		}
	}
	if err := podman.DeleteContainer(c.ID); err != nil {
		t.Fatal(err)
	}
	if !free(held[0].ID) {
		t.Error("without its container the layer is not free")
	}
}

// TestBuildsBesideARemovalHaveWhatTheyUse has layers made and taken while all that is free is removed, again and again.
func TestBuildsBesideARemovalHaveWhatTheyUse(t *testing.T) {
	o := store.Options{Driver: "overlay", Root: t.TempDir()}
	s := storetest.Open(t, o)
	stop := make(chan struct{})
	var removing sync.WaitGroup
	end := sync.OnceFunc(func() {
		close(stop)
		removing.Wait()
	})
	defer end()
	removing.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := removeAll(t, s); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 10 {
		endBuild, err := s.Removal.BeginBuild(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		layers := storetest.Stack(t, s, "", "a", "b")
		for _, l := range layers {
			if entries, got := storetest.List(t, s, l); got != l.DiffID || len(entries) != 1 {
				t.Errorf("a layer of the build has %q", entries)
			}
		}
		if err := endBuild(); err != nil {
			t.Fatal(err)
		}
	}
	end()
	if err := removeAll(t, s); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(o.Root, "overlay", "*", "diff"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	if marks, err := os.ReadDir(filepath.Join(s.Store.Paths().Own, "uses", "gone")); err == nil && len(marks) > 0 {
		t.Errorf("marks are left: %v", marks)
	} else if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
