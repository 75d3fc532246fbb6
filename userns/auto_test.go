package userns

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestAutoSizeHoldsAllIDs(t *testing.T) {
	for _, test := range [][3]uint32{{0, 0, 1024}, {1023, 0, 1024}, {1024, 0, 1025}, {5, 70000, 70001},
		{65534, 100, 65535}, {MaxID, 0, MaxID}} {
		if got := AutoSize(test[0], test[1]); got != test[2] {
			t.Errorf("AutoSize(%d, %d) = %d, want %d", test[0], test[1], got, test[2])
		}
	}
}

func TestAutoTakesTheLowestFreeRange(t *testing.T) {
	use := func(host, n uint32) Mapping {
		m := Map{{Host: host, Length: n}}
		return Mapping{UIDs: m, GIDs: m}
	}
	for _, test := range []struct {
		name, mode string
		size       uint32
		used       []Mapping
		want       string
	}{
		{"nothing in use", "auto", 1024, nil, "0 1 1024"},
		{"one before", "auto", 1024, []Mapping{use(1, 1024)}, "0 1025 1024"},
		{"hole that is long enough", "auto", 10, []Mapping{use(1, 5), use(16, 100)}, "0 6 10"},
		{"hole that is too short", "auto", 11, []Mapping{use(1, 5), use(16, 100)}, "0 116 11"},
		{"in no order, overlapping", "auto", 10, []Mapping{use(50, 100), use(1, 60), use(20, 5)}, "0 150 10"},
		{"of others", "auto", 10, []Mapping{use(200000, 10), use(0, 1)}, "0 1 10"},
		{"size of the mode", "auto:size=8192", 1024, nil, "0 1 8192"},
		{"the last that fits", "auto:size=65536", 0, nil, "0 1 65536"},
		{"the user put in", "auto:size=100,uidmapping=50:0:1,gidmapping=50:0:1", 0, nil, "0 1 50, 50 0 1, 51 51 49"},
		{"a fixed range beyond the size", "auto:size=10,uidmapping=1000:@1000:1,gidmapping=1000:@100:1", 0, nil,
			"0 1 10, 1000 0 1"},
		{"a fixed range in the way", "auto:size=10,uidmapping=0:3:2,gidmapping=0:3:2", 0, nil, "0 3 10"},
		{"fixed ranges alone", "auto:size=2,uidmapping=0:3:2,gidmapping=0:3:2", 0, nil, "0 3 2"},
	} {
		m, err := ParseMode(test.mode)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Resolve(Request{Caller: testCaller(t, false), Mode: m})
		if err != nil || r.Auto == nil || r.Second != nil {
			t.Fatalf("%s: %+v, %v", test.name, r, err)
		}
		if _, err := r.Composed(); err == nil {
			t.Errorf("%s: there is a map before the range is chosen", test.name)
		}
		got, err := r.Auto.Allocate(test.size, test.used)
		if err != nil || lines(got.UIDs) != test.want || lines(got.GIDs) != test.want {
			t.Errorf("%s: maps are %q and %q, %v, want %q", test.name, lines(got.UIDs), lines(got.GIDs), err, test.want)
		}
	}
}

func TestAutoSaysWhenNothingIsLeft(t *testing.T) {
	r, err := Resolve(Request{Caller: testCaller(t, true), Mode: Mode{Name: ModeAuto}})
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Auto.Limit(); got != 65535 {
		t.Errorf("limit is %d", got)
	}
	var used []Mapping
	for i := range 64 {
		m, err := r.Auto.Allocate(1024, used)
		if want := fmt.Sprintf("0 %d 1024", 100000+1024*i); err != nil || lines(m.UIDs) != want {
			t.Fatalf("range %d is %q, %v", i, lines(m.UIDs), err)
		}
		used = append(used, m)
	}
	_, err = r.Auto.Allocate(1024, used)
	want := "choose user IDs for --userns=auto: 1024 in a row are needed, and of all 65536 none such are free: no free range of IDs; wait for other builds"
	if !errors.Is(err, ErrNoFreeIDs) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error is %v", err)
	}
	_, err = AutoOptions{Available: SubIDs{UIDs: []SubIDRange{{5, 20}, {100, 10}}}}.Allocate(1024, used)
	want = "choose user IDs for --userns=auto: 1024 in a row are needed, and there are 30, at most 20 in a row: too few subordinate IDs; add a longer range"
	if !errors.Is(err, ErrTooFewSubIDs) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("error is %v", err)
	}
	if m, err := r.Auto.Allocate(1024, used[1:]); err != nil || lines(m.GIDs) != "0 100000 1024" {
		t.Errorf("a range given back is not taken: %q, %v", lines(m.GIDs), err)
	}
	for _, size := range []uint32{0, MaxID + 1} {
		if _, err := r.Auto.Allocate(size, nil); !errors.Is(err, ErrBadMap) {
			t.Errorf("size %d gives %v", size, err)
		}
	}
}
