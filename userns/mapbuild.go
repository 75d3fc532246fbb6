package userns

import (
	"cmp"
	"fmt"
	"slices"
)

// flagMap gives the map of one kind, container IDs to intermediate IDs, that the flags of an option make. base is the
// map without flags, which the flags extend if the first of them has a "+".
func flagMap(option string, flags []optionFlag, outer, base Map) (Map, error) {
	if len(flags) > maxRanges {
		return nil, &RequestError{Option: option, Problem: fmt.Sprintf("%d ranges, the kernel takes %d", len(flags),
			maxRanges)}
	}
	if len(base) == 0 && (len(flags) == 0 || flags[0].Extend) {
		return nil, &RequestError{Option: option, Problem: "there is no default map for the rest: root has no ranges in " +
			DefaultSubUID + " and " + DefaultSubGID + "; give the whole map, without + in the first flag"}
	}
	if len(flags) == 0 {
		return base, nil
	}

	b := mapBuilder{outer: outer, outerHosts: outer.Invert(), remedy: "; a + in front takes it over"}
	for _, f := range flags {
		if err := b.add(f.MapFlag); err != nil {
			return nil, &RequestError{Option: f.option, Value: f.String(), Problem: err.Error()}
		}
	}

	if flags[0].Extend {
		b.fill(base)
	}
	m, err := NewMap(merge(b.ranges)...)
	if err != nil {
		return nil, &RequestError{Option: option, Err: err}
	}

	return m, nil
}

// mapBuilder collects the ranges of a map to intermediate IDs; they never overlap on either side.
type mapBuilder struct {
	outer, outerHosts Map // intermediate IDs to host IDs, and host IDs to intermediate IDs
	ranges            []Range
	remedy            string // what helps against an overlap; "" if nothing does
}

// add adds the ranges of a flag, or gives the reason why the flag can't be followed.
func (b *mapBuilder) add(f MapFlag) error {
	added, err := b.intermediate(f)
	if err != nil {
		return err
	}
	for _, r := range added {
		if f.Extend {
			b.ranges = cut(b.ranges, r)
			continue
		}
		for _, q := range b.ranges {
			if id, ok := common(r.Container, q.Container, r.Length, q.Length); ok {
				return fmt.Errorf("container ID %d is mapped already, by %d:%d:%d%s", id, q.Container, q.Host, q.Length, b.remedy)
			}
			if id, ok := common(r.Host, q.Host, r.Length, q.Length); ok {
				return fmt.Errorf("ID %d outside is used already, by %d:%d:%d%s", id, q.Container, q.Host, q.Length, b.remedy)
			}
		}
	}
	b.ranges = append(b.ranges, added...)
	return nil
}

// common gives the first ID that is in both ranges: n IDs from a on, and m IDs from b on.
func common(a, b, n, m uint32) (uint32, bool) {
	first := max(a, b)
	return first, first-a < n && first-b < m
}

// intermediate gives the ranges of a flag, container IDs to intermediate IDs. One range of host IDs can be several
// ranges of intermediate IDs.
func (b *mapBuilder) intermediate(f MapFlag) ([]Range, error) {
	if !f.Host {
		if _, err := b.outer.slice(f.From, f.Length); err != nil {
			return nil, outOfReach(err, "intermediate ID", spans(b.outerHosts))
		}
		return []Range{{Container: f.Container, Host: f.From, Length: f.Length}}, nil
	}
	pieces, err := b.outerHosts.slice(f.From, f.Length)
	if err != nil {
		return nil, outOfReach(err, "host ID", spans(b.outer))
	}
	for i := range pieces {
		pieces[i].Container = f.Container + (pieces[i].Container - f.From)
	}
	return pieces, nil
}

// outOfReach adds to the error for an ID that doesn't exist in a space which IDs the space has.
func outOfReach(err error, space string, have []SubIDRange) error {
	unmapped, ok := err.(*UnmappedError) //nolint:errorlint // Map.slice returns no other, and returns it as it is.
	if !ok {
		return err
	}
	text := "none"
	for i, s := range free(have, nil) {
		span := fmt.Sprintf("%d-%d", s.Start, s.end()-1)
		if s.Count == 1 {
			span = fmt.Sprint(s.Start)
		}
		if i == 0 {
			text = span
		} else {
			text += ", " + span
		}
	}
	return fmt.Errorf("%s %d is not yours to map, you have %s", space, unmapped.ID, text)
}

// cut removes the container IDs and the intermediate IDs of r from the ranges.
func cut(ranges []Range, r Range) []Range {
	var kept []Range
	for _, q := range ranges {
		for _, p := range without(q, q.Container, r.Container, r.Length) {
			kept = append(kept, without(p, p.Host, r.Host, r.Length)...)
		}
	}
	return kept
}

// without gives the parts of q that have none of the n IDs from first on, on one side of q; start is q's first ID on
// that side.
func without(q Range, start, first, n uint32) []Range {
	begin, end := uint64(start), uint64(start)+uint64(q.Length)
	from, to := max(begin, uint64(first)), min(end, uint64(first)+uint64(n))
	if from >= to {
		return []Range{q}
	}
	var kept []Range
	if before := uint32(from - begin); before > 0 {
		kept = append(kept, Range{Container: q.Container, Host: q.Host, Length: before})
	}
	if after := uint32(end - to); after > 0 {
		skip := q.Length - after
		kept = append(kept, Range{Container: q.Container + skip, Host: q.Host + skip, Length: after})
	}
	return kept
}

// fill maps the intermediate IDs of base that no flag maps, in the order of base, to the container IDs that no flag
// maps, from 0 on.
func (b *mapBuilder) fill(base Map) {
	inside := free([]SubIDRange{{Count: MaxID + 1}}, containers(b.ranges))
	taken := spans(b.ranges)
	for _, r := range base {
		for _, s := range free([]SubIDRange{{Start: r.Host, Count: r.Length}}, taken) {
			var added []Range
			added, inside = pair(inside, s)
			b.ranges = append(b.ranges, added...)
		}
	}
}

// containers gives the container IDs of the ranges.
func containers(ranges []Range) []SubIDRange {
	s := make([]SubIDRange, len(ranges))
	for i, r := range ranges {
		s[i] = SubIDRange{Start: r.Container, Count: r.Length}
	}
	return s
}

// pair maps the first container IDs of inside to all IDs of s. It also gives the container IDs of inside that are left,
// in the memory of inside.
func pair(inside []SubIDRange, s SubIDRange) ([]Range, []SubIDRange) {
	var made []Range
	for s.Count > 0 && len(inside) > 0 {
		n := min(s.Count, inside[0].Count)
		made = append(made, Range{Container: inside[0].Start, Host: s.Start, Length: n})
		s = SubIDRange{Start: s.Start + n, Count: s.Count - n}
		if inside[0].Count == n {
			inside = inside[1:]
			continue
		}
		inside[0] = SubIDRange{Start: inside[0].Start + n, Count: inside[0].Count - n}
	}
	return made, inside
}

// free gives the IDs of have that are not in taken, sorted; neighbours are joined.
func free(have, taken []SubIDRange) []SubIDRange {
	taken = disjoint(taken)
	var out []SubIDRange
	for _, h := range disjoint(have) {
		begin := uint64(h.Start)
		i, _ := slices.BinarySearchFunc(taken, begin, func(t SubIDRange, id uint64) int { return cmp.Compare(t.end(), id+1) })
		for ; i < len(taken) && uint64(taken[i].Start) < h.end(); i++ {
			out = appendSpan(out, begin, uint64(taken[i].Start))
			begin = max(begin, taken[i].end())
		}
		out = appendSpan(out, begin, h.end())
	}
	return out
}

// appendSpan adds the IDs from begin to before end, if there are any.
func appendSpan(spans []SubIDRange, begin, end uint64) []SubIDRange {
	if begin >= end {
		return spans
	}
	if n := len(spans); n > 0 && spans[n-1].end() == begin {
		spans[n-1].Count += uint32(end - begin)
		return spans
	}
	return append(spans, SubIDRange{Start: uint32(begin), Count: uint32(end - begin)})
}
