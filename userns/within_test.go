package userns

import (
	"errors"
	"testing"
)

func TestNestedKeepsTheRanges(t *testing.T) {
	outer := Mapping{UIDs: Map{{0, 7000, 100}, {100, 9000, 5}}, GIDs: Map{{0, 7000, 105}}}
	got := outer.Nested()
	if got.UIDs.String() != "0 0 100\n100 100 5" || got.GIDs.String() != "0 0 105" {
		t.Errorf("%v", got)
	}
	all := Map{{Length: MaxID + 1}}
	if got := (Mapping{UIDs: all, GIDs: all}).Nested(); got.UIDs.String() != "0 0 4294967294" || all[0].Length != MaxID+1 {
		t.Errorf("%v of %v", got, all)
	}
}

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
	if _, err := (Mapping{UIDs: far, GIDs: far}).Within(Mapping{UIDs: outer, GIDs: outer}); !errors.As(err, &unmapped) ||
		unmapped.ID != 151 {
		t.Error(err)
	}
}
