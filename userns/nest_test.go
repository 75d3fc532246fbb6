package userns

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestComposeGoesThroughBoth(t *testing.T) {
	outer := mustMap(t, Range{0, 1000, 1}, Range{1, 100000, 65536})
	for _, test := range []struct {
		name  string
		inner Map
		want  string
	}{
		{"keep-id", mustMap(t, Range{0, 1, 1000}, Range{1000, 0, 1}, Range{1001, 1001, 64536}),
			"0 100000 1000, 1000 1000 1, 1001 101000 64536"},
		{"across ranges", mustMap(t, Range{10, 0, 3}), "10 1000 1, 11 100000 2"},
		{"joined again", mustMap(t, Range{0, 1, 5}, Range{5, 6, 5}), "0 100000 10"},
		{"nothing", nil, ""},
	} {
		if got, err := test.inner.Compose(outer); err != nil || lines(got) != test.want {
			t.Errorf("%s: %q, %v", test.name, lines(got), err)
		}
	}
	var unmapped *UnmappedError
	if _, err := mustMap(t, Range{0, 65530, 10}).Compose(outer); !errors.As(err, &unmapped) || unmapped.ID != 65537 {
		t.Errorf("an intermediate ID beyond the last gives %v", err)
	}
	odd := make([]Range, maxRanges)
	for i := range odd {
		odd[i] = Range{uint32(i), uint32(2 * i), 1}
	}
	if _, err := mustMap(t, Range{0, 0, maxRanges}, Range{1000, 1000, 1}).Compose(append(mustMap(t, odd...),
		Range{1000, 1000, 1})); !errors.Is(err, ErrBadMap) {
		t.Errorf("more ranges than the kernel takes give %v", err)
	}
}

// smallMap makes a valid map of a few ranges whose container IDs begin at 0 and leave no gap, as those of a first
// namespace, or which have gaps.
func smallMap(r *rand.Rand, gaps bool) Map {
	n := 1 + r.IntN(5)
	ranges := make([]Range, n)
	var container, host uint32
	host = r.Uint32N(1000)
	for i := range ranges {
		length := 1 + r.Uint32N(50)
		if gaps {
			container += r.Uint32N(20)
		}
		ranges[i] = Range{container, host, length}
		container += length
		host += length + r.Uint32N(100)
	}
	for i := range ranges { // exchange host sides of ranges of one length
		if j := r.IntN(n); ranges[j].Length == ranges[i].Length {
			ranges[i].Host, ranges[j].Host = ranges[j].Host, ranges[i].Host
		}
	}
	m, err := NewMap(ranges...)
	if err != nil {
		panic(err)
	}
	return m
}

// rounds is how many times maps are drawn by lot: with -short, a tenth of n.
func rounds(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// TestNestedMapsAreExact holds many random pairs of maps against translation step by step: every edge of every
// range.
func TestNestedMapsAreExact(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	composed, outside := 0, 0
	tries := rounds(1_000_000)
	for range tries {
		outer, inner := smallMap(r, false), smallMap(r, true)
		shift := inner[0].Host // make inner's host side small, so that outer has often a place for it
		for _, q := range inner {
			shift = min(shift, q.Host)
		}
		for i := range inner {
			inner[i].Host -= shift
		}
		m, err := inner.Compose(outer)
		if err != nil {
			if !errors.Is(err, ErrUnmapped) {
				t.Fatal(err)
			}
			if !leavesOut(outer, inner) {
				t.Fatalf("%v through %v: %v", inner, outer, err)
			}
			outside++
			continue
		}
		composed++
		checkNested(t, inner, outer, m)
		back := m.Invert()
		if !slices.Equal(back.Invert(), m) {
			t.Fatalf("%v inverted twice is %v", m, back.Invert())
		}
	}
	if composed < tries/10 || outside < tries/10 {
		t.Errorf("%d pairs composed, %d didn't: the test says too little", composed, outside)
	}
}

func leavesOut(outer, inner Map) bool {
	for _, q := range inner {
		for i := range q.Length {
			if _, err := outer.ToHost(q.Host + i); err != nil {
				return true
			}
		}
	}
	return false
}

func checkNested(t *testing.T, inner, outer, m Map) {
	t.Helper()
	var count, want uint64
	for _, q := range inner {
		want += uint64(q.Length)
		for _, c := range []uint32{q.Container, q.Container + q.Length/2, q.Container + q.Length - 1} {
			step, _ := inner.ToHost(c)
			host, _ := outer.ToHost(step)
			if got, err := m.ToHost(c); err != nil || got != host {
				t.Fatalf("%v through %v: %d is %d, %v, not %d", inner, outer, c, got, err, host)
			}
			if got, err := m.ToContainer(host); err != nil || got != c {
				t.Fatalf("%v through %v: %d comes back as %d, %v", inner, outer, c, got, err)
			}
			if got, err := m.Invert().ToHost(host); err != nil || got != c {
				t.Fatalf("%v inverted: %d is %d, %v, not %d", m, host, got, err, c)
			}
		}
	}
	for _, q := range m {
		count += uint64(q.Length)
	}
	if count != want {
		t.Fatalf("%v through %v has %d IDs, not %d", inner, outer, count, want)
	}
}

// TestMapFlagsAgreeWithASlowModel holds 200,000 random lists of flags against arrays of single IDs.
func TestMapFlagsAgreeWithASlowModel(t *testing.T) {
	const ids = 24
	r := rand.New(rand.NewPCG(1, 3))
	outer := mustMap(t, Range{0, 100, 1}, Range{1, 50, 10}, Range{11, 200, ids - 11})
	good := 0
	tries := rounds(200_000)
	for range tries {
		var flags []optionFlag
		for range 1 + r.IntN(4) {
			f := MapFlag{Container: r.Uint32N(ids), From: r.Uint32N(ids), Length: 1 + r.Uint32N(6), Extend: r.IntN(2) == 0}
			if r.IntN(3) == 0 {
				host, _ := outer.ToHost(f.From)
				f.From, f.Host = host, true
			}
			flags = append(flags, optionFlag{OptionUIDMap, f})
		}
		want, ok := slowModel(outer, flags, ids)
		m, err := flagMap(OptionUIDMap, flags, outer, identity(outer))
		if (err == nil) != ok {
			t.Fatalf("%v: %v, want success %v", flags, err, ok)
		}
		if !ok {
			continue
		}
		good++
		for c := range uint32(4 * ids) {
			got, err := m.ToHost(c)
			if from, ok := want[c]; ok != (err == nil) || from != got {
				t.Fatalf("%v: map %v has %d, %v for %d, not %d, %v", flags, m, got, err, c, from, ok)
			}
		}
	}
	if good < tries/4 {
		t.Errorf("only %d lists of flags make a map", good)
	}
}

// slowModel is the map of container to intermediate IDs, one by one.
func slowModel(outer Map, flags []optionFlag, ids uint32) (map[uint32]uint32, bool) {
	in, out := map[uint32]uint32{}, map[uint32]uint32{} // container to intermediate, and back
	for _, f := range flags {
		type entry struct{ c, from uint32 }
		var entries []entry
		for i := range f.Length {
			from := f.From + i
			if f.Host {
				var err error
				if from, err = outer.ToContainer(from); err != nil {
					return nil, false
				}
			}
			if from >= ids {
				return nil, false
			}
			entries = append(entries, entry{f.Container + i, from})
		}
		for _, e := range entries {
			old, taken := in[e.c]
			owner, used := out[e.from]
			if (taken || used) && !f.Extend {
				return nil, false
			}
			if taken {
				delete(out, old)
			}
			if used {
				delete(in, owner)
			}
		}
		for _, e := range entries {
			in[e.c], out[e.from] = e.from, e.c
		}
	}
	if flags[0].Extend {
		var c uint32
		for from := range ids {
			if _, used := out[from]; used {
				continue
			}
			for _, taken := in[c]; taken; _, taken = in[c] {
				c++
			}
			in[c], out[from] = from, c
		}
	}
	return in, true
}

func TestLevelsAndTranslationsAgreeWithTheMaps(t *testing.T) {
	for _, mode := range []string{"", "keep-id", "nomap", "keep-id:uid=7,gid=9"} {
		req, err := request(t, testCaller(t, false, SubIDRange{2000, 3}), mode, "", "")
		if err != nil {
			t.Fatal(err)
		}
		r, err := Resolve(req)
		if err != nil {
			t.Fatal(err)
		}
		m, err := r.Composed()
		if err != nil {
			t.Fatal(err)
		}
		for kind, composed := range map[string]Map{KindUID: m.UIDs, KindGID: m.GIDs} {
			levels, err := r.Levels(kind)
			if err != nil {
				t.Fatal(err)
			}
			var n, want uint64
			for _, l := range levels {
				n += uint64(l.Length)
				for _, i := range []uint32{0, l.Length - 1} {
					checkTranslation(t, r, kind, [3]uint32{l.Host + i, l.Intermediate + i, l.Container + i})
				}
			}
			for _, q := range composed {
				want += uint64(q.Length)
			}
			if n != want {
				t.Errorf("%s of %q: levels have %d IDs, the map %d", kind, mode, n, want)
			}
		}
	}
	if _, err := (Resolved{Auto: &AutoOptions{}}).Translate(KindUID, 0, SideHost); err == nil {
		t.Error("a map that isn't known translates")
	}
}

func checkTranslation(t *testing.T, r Resolved, kind string, want [3]uint32) {
	t.Helper()
	for i, side := range []string{SideHost, SideIntermediate, SideContainer} {
		got, err := r.Translate(kind, want[i], side)
		if err != nil || got.Host == nil || got.Intermediate == nil || got.Container == nil ||
			[3]uint32{*got.Host, *got.Intermediate, *got.Container} != want {
			t.Errorf("%s %s %d is %+v, %v, want %v", side, kind, want[i], got, err, want)
		}
	}
}

func TestWhatIsNotMappedHasNoPlace(t *testing.T) {
	r, err := Resolve(Request{Caller: testCaller(t, false), Mode: Mode{Name: ModeNoMap}})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		id   uint32
		side string
		want [3]bool // on the host, in between, in the container
	}{
		{0, SideHost, [3]bool{true, false, false}},
		{1000, SideHost, [3]bool{true, true, false}},
		{0, SideIntermediate, [3]bool{true, true, false}},
		{70000, SideIntermediate, [3]bool{false, true, false}},
		{65536, SideContainer, [3]bool{false, false, true}},
	} {
		got, err := r.Translate(KindUID, test.id, test.side)
		if have := [3]bool{got.Host != nil, got.Intermediate != nil, got.Container != nil}; err != nil || have != test.want {
			t.Errorf("%s %d is %v, %v, want %v", test.side, test.id, have, err, test.want)
		}
	}
}

func TestFindNamedTakesUsersAndGroupsFromTwoOwners(t *testing.T) {
	f := etc(t, "alice:1:2\n", "bob:3:4\n", "")
	bob := User{Name: "bob", ID: 1001}
	got, err := f.FindNamed(t.Context(), alice, bob)
	if err != nil || !slices.Equal(got.UIDs, []SubIDRange{{1, 2}}) || !slices.Equal(got.GIDs, []SubIDRange{{3, 4}}) {
		t.Errorf("found %v, %v", got, err)
	}
	for _, pair := range [][2]User{{bob, alice}, {alice, alice}, {alice, {Name: "carol", ID: 7}}} {
		if _, err := f.FindNamed(t.Context(), pair[0], pair[1]); !errors.Is(err, ErrNoSubIDs) {
			t.Errorf("%v: %v", pair, err)
		}
	}
	asked := withGetsubids(t, etc(t, "", "", "subid: sss\n"))
	if got, err := asked.FindNamed(t.Context(), alice, User{Name: "alice", ID: 5}); err != nil || len(got.UIDs) != 2 ||
		len(got.GIDs) != 1 {
		t.Errorf("getsubids gives %v, %v", got, err)
	}
	if _, err := asked.FindNamed(t.Context(), alice, bob); !errors.Is(err, ErrNoSubIDs) {
		t.Errorf("an owner without groups gives %v", err)
	}
}
