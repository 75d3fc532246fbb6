package userns

import (
	"cmp"
	"slices"
)

// Compose gives the map that m and outer make one after the other: m takes a container ID to an intermediate ID, outer
// takes that to a host ID. The error is an [UnmappedError] for an intermediate ID that outer leaves out, and matches
// [ErrBadMap] if the result has more than 340 ranges.
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

// slice gives the ranges of the map for count container IDs from first on.
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

// Compose applies [Map.Compose] to the maps of both kinds.
func (m Mapping) Compose(outer Mapping) (Mapping, error) { return m.each(outer, Map.Compose) }

// Within splits the ranges of the mapping so that each lies in a single range of outer, as the kernel demands it in a
// namespace with the mapping outer. An ID that outer leaves out is an [UnmappedError].
func (m Mapping) Within(outer Mapping) (Mapping, error) { return m.each(outer, Map.within) }

// Nested gives the mapping of a namespace below one with the mapping m, in which every ID is mapped to itself. It has
// the ranges of m, since the kernel refuses a range that crosses two of those. If m has all IDs, the last ID is left
// out: crun, runc and others take a namespace with a map of all IDs for the initial one.
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

// each calls do with the user maps and with the group maps of two mappings.
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
