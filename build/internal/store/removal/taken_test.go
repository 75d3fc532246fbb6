package removal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestALayerOfOthersThatIsTakenStaysTheirs(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			o.Root = t.TempDir()
			s := storetest.Open(t, o)
			l := storetest.Stack(t, s, "", "a")[0]
			note := filepath.Join(s.Store.Paths().Own, "uses", "layers", l.ID)
			if err := os.Remove(note); err != nil { // nothing says now that cooper has made it
				t.Fatal(err)
			}
			if again := storetest.Stack(t, s, "", "a")[0]; again.ID != l.ID {
				t.Errorf("a second layer was made: %s", again.ID)
			}
			if items := layerItems(t, s); len(items) > 0 {
				t.Errorf("these could be removed: %v", items)
			}
		})
	}
}

func TestALayerThatIsBeingRemovedIsMadeAnew(t *testing.T) {
	s := storetest.Open(t, store.Options{Driver: "overlay"})
	l := storetest.Stack(t, s, "", "a")[0]
	unlock, err := s.Store.Parts().Uses.LockRemoval(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(s.Store.Paths().Own, "uses", "gone")
	mark := filepath.Join(gone, l.ID)
	if err := errors.Join(os.MkdirAll(gone, 0o700), os.WriteFile(mark, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	snap, dir := storetest.Prepare(t, s, "")
	storetest.Write(t, filepath.Join(dir, "a"), "a")
	if _, err := snap.Read(t.Context(), snapshot.ReadOptions{}); err != nil {
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
	if err := errors.Join(s.Store.RemoveLayer(l.ID), os.Remove(mark)); err != nil {
		t.Fatal(err)
	}
	if again := <-made; again.ID != l.ID || !s.Store.HasLayer(l.ID) {
		t.Errorf("the layer is %+v", again)
	}
	// What a remover that was killed has marked is there.
	if err := errors.Join(unlock(), os.WriteFile(mark, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if again := storetest.Stack(t, s, "", "a")[0]; again.ID != l.ID {
		t.Errorf("the layer is %+v", again)
	}
	if _, ok := s.Store.UseLayer(t.Context(), l.ID, ""); !ok {
		t.Error("the mark of a dead process is still there")
	}
}
