package userns

import (
	"errors"
	"testing"
)

func TestWithinSplitsAtTheRangesOfTheOuterMap(t *testing.T) {
	outer := Map{{0, 1000, 1}, {1, 100000, 100}, {101, 300000, 50}}
	for _, c := range []struct{ m, want Map }{
		{Map{{0, 0, 120}}, Map{{0, 0, 1}, {1, 1, 100}, {101, 101, 19}}},
		{Map{{0, 1, 10}, {10, 0, 1}}, Map{{0, 1, 10}, {10, 0, 1}}},
		{Map{{5, 100, 2}}, Map{{5, 100, 1}, {6, 101, 1}}},
	} {
		got, err := Mapping{UIDs: c.m, GIDs: c.m}.Within(Mapping{UIDs: outer, GIDs: outer})
		if err != nil || got.UIDs.String() != c.want.String() || got.GIDs.String() != c.want.String() {
			t.Errorf("%v: %v, want %v (%v)", c.m, got, c.want, err)
		}
	}
	far := Map{{0, 150, 2}}
	var unmapped *UnmappedError
	if _, err := (Mapping{UIDs: far, GIDs: far}).Within(Mapping{UIDs: outer, GIDs: outer}); !errors.As(err, &unmapped) || unmapped.ID != 151 {
		t.Error(err)
	}
}
