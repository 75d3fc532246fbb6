package userns

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestHighestIDSurvivesHostileFiles(t *testing.T) {
	const limit = 65535
	passwd := "root:x:0:0:root:/root:/bin/sh\nwww:x:33:1234:::\nnobody:x:65534:65534::\n"
	for _, test := range []struct {
		name, passwd, group string
		want                uint32
	}{
		{"nothing", "", "", 0},
		{"both numbers of a user", passwd, "root:x:0:\n", 1234},
		{"groups", passwd, "app:x:2000:a,b\nnogroup:x:65534:\n", 2000},
		{"absurd IDs", "a:x:4294967295:4294967294:\nb:x:99999999999999999999:-5:\nc:x:70000:65535:\n", "", limit},
		{"not lines", "a\n::\n:::::::\nx:y:z:w\n\x00\n\nlast:x:7:8", "", 8},
		{"a line without end", strings.Repeat("x", 3<<20), strings.Repeat(":", 3<<20), 0},
		{"what is beyond the first MiB", strings.Repeat("#\n", 1<<10) + strings.Repeat("x", 1<<20) + "\na:x:9:9:\n", "a:x:5:\n", 5},
		{"what is beyond 10,000 lines", strings.Repeat("#\n", 10000) + "a:x:9:9:\n", "a:x:5:\n", 5},
	} {
		got, err := HighestID(strings.NewReader(test.passwd), strings.NewReader(test.group), limit)
		if err != nil || got != test.want {
			t.Errorf("%s: highest ID is %d, %v, want %d", test.name, got, err, test.want)
		}
	}
	if got, err := HighestID(nil, nil, limit); got != 0 || err != nil {
		t.Errorf("no files give %d, %v", got, err)
	}
}

// An endless file is read no further than the limit.
func TestHighestIDEnds(t *testing.T) {
	if got, err := HighestID(endless{}, endless{}, 100); err != nil || got != 7 {
		t.Errorf("highest ID is %d, %v", got, err)
	}
	if _, err := HighestID(broken{}, nil, 100); !errors.Is(err, errBroken) {
		t.Errorf("a file that can't be read gives %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "a:x:7:7:\n"), nil }

type broken struct{}

var errBroken = errors.New("broken")

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestAutoSizeHoldsAllIDs(t *testing.T) {
	for _, test := range [][3]uint32{{0, 0, 1024}, {1023, 0, 1024}, {1024, 0, 1025}, {5, 70000, 70001}, {65534, 100, 65535}, {MaxID, 0, MaxID}} {
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
		{"a fixed range beyond the size", "auto:size=10,uidmapping=1000:@1000:1,gidmapping=1000:@100:1", 0, nil, "0 1 10, 1000 0 1"},
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
	if m, err := r.Auto.Allocate(1024, used[1:]); err != nil || lines(m.GIDs) != "0 100000 1024" {
		t.Errorf("a range given back is not taken: %q, %v", lines(m.GIDs), err)
	}
	for _, size := range []uint32{0, MaxID + 1} {
		if _, err := r.Auto.Allocate(size, nil); !errors.Is(err, ErrBadMap) {
			t.Errorf("size %d gives %v", size, err)
		}
	}
}
