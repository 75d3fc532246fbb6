package userns

import (
	"cmp"
	"os"
	"slices"
)

// grantPlace is a subordinate ID file, with the IDs that exist in the namespace in which it is read.
type grantPlace struct {
	file string
	// within is the map of that namespace; nil if it has all IDs.
	within Map
}

// lowestGrant is the lowest ID that is proposed in a namespace with too few IDs to begin at firstSubID: the IDs below
// it belong to the system's users.
const lowestGrant = 1000

// grant proposes a range of count IDs that contains none of own. It begins above all ranges in the file, since usermod
// doesn't refuse a range that overlaps another user's. A file that can't be read counts as empty: its error, if it
// matters, was reported before. If the namespace hasn't got such a range, the longest free range of the namespace is
// proposed, provided that it has at least least IDs.
func (p grantPlace) grant(count, least uint64, own []uint32) Grant {
	var used []SubIDRange
	start := uint64(firstSubID)
	if in, err := os.Open(p.file); err == nil {
		defer in.Close()
		_ = eachSubID(in, User{ID: ^uint32(0)}, func(l subIDLine) {
			start = max(start, l.end())
			used = append(used, l.SubIDRange)
		})
	}

	for _, id := range slices.Sorted(slices.Values(own)) {
		used = append(used, SubIDRange{Start: id, Count: 1})
		if start <= uint64(id) && uint64(id) < start+count {
			start = uint64(id) + 1
		}
	}

	g := Grant{File: p.file}
	if p.within == nil {
		if start+count-1 <= uint64(MaxID) {
			g.Range = SubIDRange{Start: uint32(start), Count: uint32(count)}
		}
		return g
	}

	for _, s := range p.stretches() {
		if uint64(s.Start) <= start && start+count <= s.end() {
			g.Range = SubIDRange{Start: uint32(start), Count: uint32(count)}
			return g
		}
	}

	if longest := p.longestWithout(used); uint64(longest.Count) >= least {
		g.Range = SubIDRange{Start: longest.Start, Count: uint32(min(count, uint64(longest.Count)))}
	}
	return g
}

// stretches gives the IDs that exist in the namespace, as ranges; ranges that follow each other are joined.
func (p grantPlace) stretches() []SubIDRange {
	ranges := slices.SortedFunc(slices.Values(p.within),
		func(a, b Range) int { return cmp.Compare(a.Container, b.Container) })
	var joined []SubIDRange
	for _, r := range ranges {
		if n := len(joined); n > 0 && joined[n-1].end() == uint64(r.Container) {
			joined[n-1].Count += r.Length
			continue
		}
		joined = append(joined, SubIDRange{Start: r.Container, Count: r.Length})
	}
	return joined
}

// longestWithout gives the longest range of existing IDs, from lowestGrant on, that contains none of used.
func (p grantPlace) longestWithout(used []SubIDRange) (longest SubIDRange) {
	slices.SortFunc(used, func(a, b SubIDRange) int { return cmp.Compare(a.Start, b.Start) })
	for _, s := range p.stretches() {
		from := max(uint64(s.Start), lowestGrant)
		take := func(to uint64) {
			if to > from && to-from > uint64(longest.Count) {
				longest = SubIDRange{Start: uint32(from), Count: uint32(to - from)}
			}
		}
		for _, u := range used {
			if u.Count > 0 && u.end() > from && uint64(u.Start) < s.end() {
				take(uint64(u.Start))
				from = u.end()
			}
		}
		take(s.end())
	}
	return longest
}
