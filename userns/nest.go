package userns

import (
	"cmp"
	"slices"
)

// Compose gives the map through both: m takes a container ID to an intermediate ID, outer takes that to a host ID. An
// intermediate ID that outer leaves out is an [UnmappedError], and more than [MaxRanges] ranges match [ErrBadMap].
func (m Map) Compose(outer Map) (Map, error) {
	var ranges []Range
	for _, r := range m {
		pieces, err := outer.slice(r.Host, r.Length)
		if err != nil {
			return nil, err
		}
		for _, p := range pieces {
			p.Container = r.Container + (p.Container - r.Host)
			ranges = append(ranges, p)
		}
	}
	return NewMap(merge(ranges)...)
}

// slice gives the parts of the map for count container IDs from first on.
func (m Map) slice(first, count uint32) ([]Range, error) {
	var pieces []Range
	for count > 0 {
		r, ok := m.find(first)
		if !ok {
			return nil, &UnmappedError{ID: first, Side: SideContainer, Map: m}
		}
		skip := first - r.Container
		n := min(count, r.Length-skip)
		pieces = append(pieces, Range{Container: first, Host: r.Host + skip, Length: n})
		first, count = first+n, count-n
	}
	return pieces, nil
}

// Invert gives the map with its sides exchanged.
func (m Map) Invert() Map {
	inverse := make(Map, len(m))
	for i, r := range m {
		inverse[i] = Range{Container: r.Host, Host: r.Container, Length: r.Length}
	}
	slices.SortFunc(inverse, func(a, b Range) int { return cmp.Compare(a.Container, b.Container) })
	return inverse
}

// merge sorts ranges by container ID and joins those that follow each other on both sides.
func merge(ranges []Range) []Range {
	slices.SortFunc(ranges, func(a, b Range) int { return cmp.Compare(a.Container, b.Container) })
	out := ranges[:0]
	for _, r := range ranges {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if r.Container-last.Container == last.Length && r.Host-last.Host == last.Length && r.Host > last.Host {
				last.Length += r.Length
				continue
			}
		}
		out = append(out, r)
	}
	return out
}

// Compose gives the mapping through both; see [Map.Compose].
func (m Mapping) Compose(outer Mapping) (Mapping, error) { return m.each(outer, Map.Compose) }

// Within gives the same mapping in ranges that the kernel takes in a namespace with the mapping outer: each lies in a
// single range there. An ID that outer leaves out is an [UnmappedError].
func (m Mapping) Within(outer Mapping) (Mapping, error) { return m.each(outer, Map.within) }

// Nested maps the IDs of a namespace with the mapping m to themselves in one below it, in the ranges of m: the kernel
// takes none that crosses two of them. Where these are all the IDs that there are, the last is left out: by a map of
// all IDs crun, runc and others take a namespace for the initial one.
func (m Mapping) Nested() Mapping {
	below := Mapping{UIDs: m.UIDs.nested(), GIDs: m.GIDs.nested()}
	for _, ids := range []Map{below.UIDs, below.GIDs} {
		if len(ids) == 1 && ids[0].Length > MaxID {
			ids[0].Length = MaxID
		}
	}
	return below
}

func (m Map) nested() Map {
	same := make(Map, len(m))
	for i, r := range m {
		same[i] = Range{Container: r.Container, Host: r.Container, Length: r.Length}
	}
	return same
}

func (m Map) within(outer Map) (Map, error) {
	var ranges []Range
	for _, r := range m {
		pieces, err := outer.slice(r.Host, r.Length)
		if err != nil {
			return nil, err
		}
		for _, p := range pieces {
			ranges = append(ranges, Range{Container: r.Container + (p.Container - r.Host), Host: p.Container, Length: p.Length})
		}
	}
	return NewMap(ranges...)
}

// each does the same with the user and the group maps of two mappings.
func (m Mapping) each(other Mapping, do func(Map, Map) (Map, error)) (Mapping, error) {
	uids, err := do(m.UIDs, other.UIDs)
	if err != nil {
		return Mapping{}, withKind(err, KindUID)
	}
	gids, err := do(m.GIDs, other.GIDs)
	if err != nil {
		return Mapping{}, withKind(err, KindGID)
	}
	return Mapping{UIDs: uids, GIDs: gids}, nil
}
