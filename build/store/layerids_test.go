package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/store"
)

func TestTheSameContentIsTheSameLayer(t *testing.T) {
	for name, o := range options() {
		t.Run(name, func(t *testing.T) {
			s := open(t, o)
			layers := stack(t, s, "", "a", "b")
			for n, l := range layers {
				if want := store.LayerID(l.Parent, l.DiffID); l.ID != want {
					t.Errorf("layer %d has the ID %s, not %s", n, l.ID, want)
				}
			}
			if !store.Chained(layers) {
				t.Error("the layers are no chain")
			}
			again := stack(t, s, "", "a", "b")
			for n, l := range again {
				if l.ID != layers[n].ID || l.DiffID != layers[n].DiffID || l.Size != layers[n].Size {
					t.Errorf("layer %d is %+v, and was %+v", n, l, layers[n])
				}
			}
			other := stack(t, s, "", "c", "a")[1]
			if other.ID == layers[0].ID || other.DiffID != layers[0].DiffID {
				t.Errorf("the same content elsewhere is %+v", other)
			}
			if entries, got := list(t, s, again[1]); got != again[1].DiffID || len(entries) != 1 {
				t.Errorf("the layer has %v", entries)
			}
		})
	}
}

func TestALayerOfOthersThatIsTakenStaysTheirs(t *testing.T) {
	for name, o := range options() {
		t.Run(name, func(t *testing.T) {
			o.Root = t.TempDir()
			s := open(t, o)
			l := stack(t, s, "", "a")[0]
			note := filepath.Join(s.Dir(), "uses", "layers", l.ID)
			if err := os.Remove(note); err != nil { // nothing says now that cooper has made it
				t.Fatal(err)
			}
			if again := stack(t, s, "", "a")[0]; again.ID != l.ID {
				t.Errorf("a second layer was made: %s", again.ID)
			}
			if items := layerItems(t, s); len(items) > 0 {
				t.Errorf("these could be removed: %v", items)
			}
		})
	}
}

func TestALayerThatIsBeingRemovedIsMadeAnew(t *testing.T) {
	s := open(t, store.Options{Driver: "overlay"})
	l := stack(t, s, "", "a")[0]
	unlock, err := s.Uses().LockRemoval(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(s.Dir(), "uses", "gone")
	mark := filepath.Join(gone, l.ID)
	if err := errors.Join(os.MkdirAll(gone, 0o700), os.WriteFile(mark, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	snap, err := s.Prepare(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(snap.Dir(), "a"), "a")
	if _, err := snap.Read(store.ReadOptions{Context: t.Context()}); err != nil {
		t.Fatal(err)
	}
	made := make(chan store.Layer)
	go func() {
		l, err := snap.Commit(t.Context(), "")
		if err != nil {
			t.Error(err)
		}
		made <- l
	}()
	const while = 100 * time.Millisecond
	select {
	case <-made:
		t.Fatal("the layer was taken while it was being removed")
	case <-time.After(while):
	}
	if err := errors.Join(s.RemoveLayer(l.ID), os.Remove(mark)); err != nil {
		t.Fatal(err)
	}
	if again := <-made; again.ID != l.ID || !s.HasLayer(l.ID) {
		t.Errorf("the layer is %+v", again)
	}
	// What a remover that was killed has marked is there.
	if err := errors.Join(unlock(), os.WriteFile(mark, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if again := stack(t, s, "", "a")[0]; again.ID != l.ID {
		t.Errorf("the layer is %+v", again)
	}
	if _, ok := s.UseLayer(t.Context(), l.ID, ""); !ok {
		t.Error("the mark of a dead process is still there")
	}
}
