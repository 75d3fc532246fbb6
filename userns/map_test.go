package userns

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/quick"
)

func mustMap(t testing.TB, ranges ...Range) Map {
	t.Helper()
	m, err := NewMap(ranges...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestNewMapSortsByContainerID(t *testing.T) {
	in := []Range{{1, 100000, 65536}, {0, 1000, 1}}
	m := mustMap(t, in...)
	if got, want := m.String(), "0 1000 1\n1 100000 65536"; got != want {
		t.Errorf("map is %q, want %q", got, want)
	}
	if in[0].Container != 1 {
		t.Error("the caller's ranges were reordered")
	}
}

func TestNewMapRefusesWhatTheKernelRefuses(t *testing.T) {
	many := make([]Range, maxRanges+1)
	for i := range many {
		many[i] = Range{uint32(2 * i), uint32(2 * i), 1}
	}
	for _, test := range []struct {
		name   string
		ranges []Range
		ok     bool
	}{
		{"nothing", nil, true},
		{"whole ID space", []Range{{0, 0, 4294967295}}, true},
		{"last ID on both sides", []Range{{MaxID, MaxID, 1}}, true},
		{"as many as it takes", many[:maxRanges], true},
		{"neighbours", []Range{{0, 10, 10}, {10, 0, 10}}, true},
		{"one too many", many, false},
		{"empty range", []Range{{0, 0, 0}}, false},
		{"container ID beyond the last", []Range{{1, 0, 4294967295}}, false},
		{"host ID beyond the last", []Range{{0, 1, 4294967295}}, false},
		{"the ID that means none", []Range{{0, 4294967295, 1}}, false},
		{"same container IDs", []Range{{0, 0, 10}, {9, 20, 1}}, false},
		{"same host IDs", []Range{{0, 0, 10}, {20, 9, 1}}, false},
		{"one host range around another", []Range{{0, 0, 100}, {200, 50, 1}}, false},
		{"the same twice", []Range{{5, 5, 5}, {5, 5, 5}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := NewMap(test.ranges...)
			if (err == nil) != test.ok || (err != nil && !errors.Is(err, ErrBadMap)) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestToHostAndBack(t *testing.T) {
	m := mustMap(t, Range{0, 1000, 1}, Range{1, 100000, 65536}, Range{70000, 5, 2}, Range{4294967294, 0, 1})
	for _, test := range []struct{ container, host uint32 }{
		{0, 1000}, {1, 100000}, {33, 100032}, {65536, 165535}, {70000, 5}, {70001, 6}, {4294967294, 0},
	} {
		if got, err := m.ToHost(test.container); err != nil || got != test.host {
			t.Errorf("ToHost(%d) = %d, %v, want %d", test.container, got, err, test.host)
		}
		if got, err := m.ToContainer(test.host); err != nil || got != test.container {
			t.Errorf("ToContainer(%d) = %d, %v, want %d", test.host, got, err, test.container)
		}
	}
	for _, id := range []uint32{65537, 69999, 70002, 4294967293, 4294967295} {
		if got, err := m.ToHost(id); !errors.Is(err, ErrUnmapped) || got != 0 {
			t.Errorf("ToHost(%d) = %d, %v, want an error", id, got, err)
		}
	}
	for _, id := range []uint32{1, 4, 7, 999, 1001, 99999, 165536, 4294967294, 4294967295} {
		if got, err := m.ToContainer(id); !errors.Is(err, ErrUnmapped) || got != 0 {
			t.Errorf("ToContainer(%d) = %d, %v, want an error", id, got, err)
		}
	}
}

// randomMap makes a valid map: gaps and lengths by chance, host order shuffled.
func randomMap(r *rand.Rand) Map {
	n := 1 + r.IntN(20)
	if r.IntN(10) == 0 {
		n = 1 + r.IntN(maxRanges)
	}
	ranges := make([]Range, n)
	room := uint64(MaxID) / uint64(n) // of each range and the gap before it
	if r.IntN(2) == 0 {
		room = min(room, 100000)
	}
	hostOrder := r.Perm(n)
	for i := range ranges {
		length := 1 + r.Uint64N(room)
		gap := r.Uint64N(room - length + 1)
		ranges[i] = Range{
			Container: uint32(uint64(i)*room + gap),
			Host:      uint32(uint64(hostOrder[i])*room + r.Uint64N(room-length+1)),
			Length:    uint32(length),
		}
	}
	r.Shuffle(n, func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
	m, err := NewMap(ranges...)
	if err != nil {
		panic(err)
	}
	return m
}

// interesting gives the ends of every range, what lies beside them, and a few at random.
func interesting(r *rand.Rand, m Map, start func(Range) uint32) []uint32 {
	ids := []uint32{0, 1, 65534, 65535, MaxID, MaxID + 1, r.Uint32(), r.Uint32()}
	for _, x := range m {
		s := start(x)
		ids = append(ids, s-1, s, s+x.Length-1, s+x.Length, s+r.Uint32N(x.Length))
	}
	return ids
}

func containsID(m Map, start func(Range) uint32, id uint32) bool {
	return slices.ContainsFunc(m, func(x Range) bool {
		s := uint64(start(x))
		return uint64(id) >= s && uint64(id) < s+uint64(x.Length)
	})
}

func TestEveryMapIsABijectionOverThousandsOfRandomMaps(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	container := func(x Range) uint32 { return x.Container }
	host := func(x Range) uint32 { return x.Host }
	for range 5000 {
		m := randomMap(r)
		for _, id := range interesting(r, m, container) {
			h, err := m.ToHost(id)
			if mapped := containsID(m, container, id); (err == nil) != mapped {
				t.Fatalf("map %q: container ID %d: %v, but mapped is %v", m, id, err, mapped)
			}
			if err != nil {
				continue
			}
			if back, err := m.ToContainer(h); err != nil || back != id {
				t.Fatalf("map %q: container ID %d -> %d -> %d, %v", m, id, h, back, err)
			}
		}
		for _, id := range interesting(r, m, host) {
			c, err := m.ToContainer(id)
			if mapped := containsID(m, host, id); (err == nil) != mapped {
				t.Fatalf("map %q: host ID %d: %v, but mapped is %v", m, id, err, mapped)
			}
			if err != nil {
				continue
			}
			if back, err := m.ToHost(c); err != nil || back != id {
				t.Fatalf("map %q: host ID %d -> %d -> %d, %v", m, id, c, back, err)
			}
		}
		if again, err := ParseMap(m.String()); err != nil || !slices.Equal(again, m) {
			t.Fatalf("map %q reads as %q, %v", m, again, err)
		}
		if h := m.Highest(); !containsID(m, container, h) || containsID(m, container, h+1) && h < MaxID {
			t.Fatalf("map %q: highest is %d", m, h)
		}
	}
}

func TestDefaultMappingIsExactForAnyCaller(t *testing.T) {
	property := func(uid uint16, start uint32, count uint16, id uint32) bool {
		sub := []SubIDRange{{70000 + start%4000000000, 1 + uint32(count)}}
		m, err := Default(uint32(uid), uint32(uid), SubIDs{sub, sub})
		if err != nil {
			return false
		}
		h, err := m.UIDs.ToHost(id % (3 + uint32(count)))
		if id%(3+uint32(count)) > 1+uint32(count) {
			return errors.Is(err, ErrUnmapped)
		}
		c, back := m.UIDs.ToContainer(h)
		return err == nil && back == nil && c == id%(3+uint32(count))
	}
	if err := quick.Check(property, &quick.Config{MaxCount: 20000}); err != nil {
		t.Error(err)
	}
}

func TestMissingNamesEachUnmappedIDOnce(t *testing.T) {
	m := mustMap(t, Range{0, 1000, 1}, Range{1, 100000, 99})
	got := m.Missing([]uint32{70000, 0, 99, 100, 65534, 70000, 5, 100})
	if want := []uint32{100, 65534, 70000}; !slices.Equal(got, want) {
		t.Errorf("missing %v, want %v", got, want)
	}
	if got := m.Missing([]uint32{0, 99}); got != nil {
		t.Errorf("missing %v, want nil", got)
	}
}

func TestHighest(t *testing.T) {
	for _, test := range []struct {
		m    Map
		want uint32
	}{{nil, 0}, {mustMap(t, Range{0, 1000, 1}), 0}, {mustMap(t, Range{1, 100000, 65536}, Range{0, 0, 1}), 65536},
		{mustMap(t, Range{0, 0, 4294967295}), MaxID}} {
		if got := test.m.Highest(); got != test.want {
			t.Errorf("highest of %q is %d, want %d", test.m, got, test.want)
		}
	}
}

func TestParseMapReadsTheKernelsForm(t *testing.T) {
	m, err := ParseMap("         0       1000          1\n         1     100000      65536\n")
	if err != nil || m.String() != "0 1000 1\n1 100000 65536" {
		t.Errorf("map is %q, %v", m, err)
	}
	if m, err := ParseMap(""); err != nil || len(m) != 0 {
		t.Errorf("map is %q, %v", m, err)
	}
	for _, text := range []string{"0 1", "0 1 2 3", "0 1 x", "0 -1 1", "0 1 4294967296", "0 0 0", "0 0 5\n3 9 1"} {
		if _, err := ParseMap(text); !errors.Is(err, ErrBadMap) {
			t.Errorf("%q gives %v", text, err)
		}
	}
}

func TestUnmappedErrorSaysWhichIDOnWhichSide(t *testing.T) {
	m := Mapping{UIDs: mustMap(t, Range{0, 1000, 1}, Range{1, 100000, 5}), GIDs: mustMap(t, Range{0, 7, 1})}
	_, _, err := m.ToHost(70, 0)
	if want := "container uid 70 has no host ID (the map is 0 1000 1, 1 100000 5)"; err == nil || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	_, _, err = m.ToContainer(100001, 70)
	if want := "host gid 70 has no container ID (the map is 0 7 1)"; err == nil || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	if uid, gid, err := m.ToContainer(100001, 7); uid != 2 || gid != 0 || err != nil {
		t.Errorf("owner is %d:%d, %v", uid, gid, err)
	}
	if _, err := Map(nil).ToHost(0); err == nil || !strings.Contains(err.Error(), "the map is empty") {
		t.Errorf("error is %v", err)
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add("0 1000 1\n1 100000 65536\n")
	f.Add("         0          0 4294967295\n")
	f.Add("4294967294 1 1")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMap(text)
		if err != nil {
			if !errors.Is(err, ErrBadMap) {
				t.Fatalf("error %v is of no kind", err)
			}
			return
		}
		for _, r := range m {
			for _, id := range []uint32{r.Container, r.Container + r.Length - 1} {
				h, err := m.ToHost(id)
				if err != nil {
					t.Fatal(err)
				}
				if back, err := m.ToContainer(h); err != nil || back != id {
					t.Fatalf("%d -> %d -> %d, %v", id, h, back, err)
				}
			}
		}
	})
}
