package store_test

import (
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestTheSameContentIsTheSameLayer(t *testing.T) {
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			s := storetest.Open(t, o)
			layers := storetest.Stack(t, s, "", "a", "b")
			for n, l := range layers {
				if want := store.LayerID(l.Parent, l.DiffID); l.ID != want {
					t.Errorf("layer %d has the ID %s, not %s", n, l.ID, want)
				}
			}
			if !store.Chained(layers) {
				t.Error("the layers are no chain")
			}
			again := storetest.Stack(t, s, "", "a", "b")
			for n, l := range again {
				if l.ID != layers[n].ID || l.DiffID != layers[n].DiffID || l.Size != layers[n].Size {
					t.Errorf("layer %d is %+v, and was %+v", n, l, layers[n])
				}
			}
			other := storetest.Stack(t, s, "", "c", "a")[1]
			if other.ID == layers[0].ID || other.DiffID != layers[0].DiffID {
				t.Errorf("the same content elsewhere is %+v", other)
			}
			if entries, got := storetest.List(t, s, again[1]); got != again[1].DiffID || len(entries) != 1 {
				t.Errorf("the layer has %v", entries)
			}
		})
	}
}
