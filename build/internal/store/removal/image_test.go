package removal_test

import (
	"errors"
	"strings"
	"testing"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestAnImageThatGetsANameMeanwhileStays(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	layers := storetest.Stack(t, s, "", "a")
	id := image(t, s, layers, "localhost/a:1")
	if err := s.Images.Tag(t.Context(), id, []string{"localhost/b:1"}); err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unlock() }()
	_, err = s.Removal.RemoveImage(t.Context(), id, []string{"localhost/a:1"})
	if !errors.Is(err, removal.ErrNamed) || !has(s, layers[0]) {
		t.Errorf("of two names one was known: %v, the layer is there: %v", err, has(s, layers[0]))
	}
	gone, err := s.Removal.RemoveImage(t.Context(), id, []string{"localhost/a:1", "localhost/b:1"})
	if err != nil || len(gone) != 1 || has(s, layers[0]) {
		t.Errorf("both names were known: %v, gone are %v", err, gone)
	}
}

// TestAnImageThatCanNotGoStaysWithAllThatItHad: no layer is left marked, and no image holds what stays.
func TestAnImageThatCanNotGoStaysWithAllThatItHad(t *testing.T) {
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			s := storetest.Open(t, store.Options{Driver: driver})
			layers := storetest.Stack(t, s, "", "a", "b")
			id := image(t, s, layers, "localhost/a:1")
			names := []string{"localhost/a:1"}
			lib := library.Of(s.Store.Parts().Library)
			podman, err := storage.GetStore(storage.StoreOptions{GraphRoot: lib.GraphRoot(), RunRoot: lib.RunRoot()})
			if err != nil {
				t.Fatal(err)
			}
			c, err := podman.CreateContainer("", nil, id, "", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), true)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unlock() }()
			stays := func(why string) {
				t.Helper()
				all, err := lib.Images()
				if err != nil || len(all) != 1 || all[0].ID != id {
					t.Errorf("%s: the store has %d images, %v", why, len(all), err)
				}
				for _, l := range layers {
					if _, ok := s.Store.UseLayer(t.Context(), l.ID, l.Parent); !ok {
						t.Errorf("%s: layer %s can't be used", why, l.ID)
					}
				}
			}
			if _, err := s.Removal.RemoveImage(t.Context(), id, names); !removal.Busy(err) {
				t.Errorf("a container uses it: %v", err)
			}
			stays("of a container")
			if err := podman.DeleteContainer(c.ID); err != nil {
				t.Fatal(err)
			}
			end, err := s.Removal.BeginBuild(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			stays("of a build") // which uses the layers by that
			if _, err := s.Removal.RemoveImage(t.Context(), id, names); !errors.Is(err, removal.ErrInUse) || removal.Busy(err) {
				t.Errorf("a build uses it: %v", err)
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Removal.RemoveImage(t.Context(), strings.Repeat("0", 64), nil); !errors.Is(err,
				storage.ErrImageUnknown) ||
				!strings.HasPrefix(err.Error(), "remove image: ") {
				t.Errorf("one that isn't there: %v", err)
			}
			if gone, err := s.Removal.RemoveImage(t.Context(), id, names); err != nil || len(gone) != 2 {
				t.Errorf("gone: %v, %v", gone, err)
			}
		})
	}
}
