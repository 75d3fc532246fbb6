package userns

import (
	"errors"
	"fmt"
)

// ErrNoFreeIDs means that no range is left that is long enough for --userns=auto.
var ErrNoFreeIDs = errors.New("no free range of IDs")

// minAutoSize is the least number of IDs that --userns=auto takes of itself; containers/storage's own default.
const minAutoSize = 1024

// AutoOptions are what --userns=auto can choose from.
type AutoOptions struct {
	Size      uint32  // number of IDs; 0: [AutoSize] says
	UIDs      []Range // container IDs to intermediate IDs that the user map has in any case
	GIDs      []Range // and the group map
	Available SubIDs  // the intermediate IDs to choose from
}

// AutoSize is the number of IDs for an image whose highest owner in a layer, and whose highest ID in /etc/passwd and
// /etc/group, are these.
func AutoSize(owner, named uint32) uint32 {
	return max(minAutoSize, min(max(owner, named), MaxID-1)+1)
}

// Limit is the highest container ID that could fit: what is beyond needs no look.
func (a AutoOptions) Limit() uint32 {
	n := min(total(a.Available.UIDs), total(a.Available.GIDs))
	if n == 0 {
		return 0
	}
	return uint32(n - 1)
}

// Allocate chooses for container IDs 0 to size-1 the lowest range of available IDs that no map of used has on its host
// side (intermediate IDs). The fixed ranges are put in; they don't have to be free. a.Size, if set, is used instead of
// size. The error matches [ErrNoFreeIDs] if nothing is left, [ErrTooFewSubIDs] if there never was as much, and
// [ErrBadMap] if the fixed ranges make no map.
func (a AutoOptions) Allocate(size uint32, used []Mapping) (Mapping, error) {
	if a.Size != 0 {
		size = a.Size
	}
	var usedUIDs, usedGIDs []SubIDRange
	for _, m := range used {
		usedUIDs = append(usedUIDs, spans(m.UIDs)...)
		usedGIDs = append(usedGIDs, spans(m.GIDs)...)
	}
	uids, err := allocate(size, a.UIDs, a.Available.UIDs, usedUIDs)
	if err != nil {
		return Mapping{}, autoError("choose user IDs for --userns=auto", err)
	}
	gids, err := allocate(size, a.GIDs, a.Available.GIDs, usedGIDs)
	if err != nil {
		return Mapping{}, autoError("choose group IDs for --userns=auto", err)
	}
	return Mapping{UIDs: uids, GIDs: gids}, nil
}

// autoError says what went wrong. A map that can't be is what the options of auto have asked for.
func autoError(what string, err error) error {
	if errors.Is(err, ErrBadMap) {
		return &RequestError{Option: what, Err: err}
	}
	return fmt.Errorf("%s: %w", what, err)
}

func allocate(size uint32, fixed []Range, available, used []SubIDRange) (Map, error) {
	if size == 0 || size > MaxID {
		return nil, fmt.Errorf("size %d is not from 1 to %d: %w", size, MaxID, ErrBadMap)
	}
	inside := free([]SubIDRange{{Count: size}}, containers(fixed))
	need := total(inside)
	ranges := append([]Range(nil), fixed...)
	if need > 0 {
		s, ok := lowest(need, free(available, append(spans(fixed), used...)))
		if !ok {
			return nil, noFree(need, available, free(available, spans(fixed)))
		}
		added, _ := pair(inside, s)
		ranges = append(ranges, added...)
	}
	m, err := NewMap(merge(ranges)...)
	if err == nil {
		err = m.Writable()
	}
	return m, err
}

// noFree says why none of the available IDs can be had: there are too few even if nothing else uses any, or others use
// them. unused are the available ones if nothing else does.
func noFree(need uint64, available, unused []SubIDRange) error {
	var longest uint32
	for _, s := range unused {
		longest = max(longest, s.Count)
	}
	if need > uint64(longest) {
		return fmt.Errorf("%d in a row are needed, and there are %d, at most %d in a row: %w; "+
			"add a longer range of subordinate IDs with usermod, or give less with --userns=auto:size=N", need, total(available),
			longest, ErrTooFewSubIDs)
	}
	return fmt.Errorf("%d in a row are needed, and of all %d none such are free: %w; "+
		"wait for other builds and containers, give less with --userns=auto:size=N, or add subordinate IDs with usermod",
		need, total(available), ErrNoFreeIDs)
}

// lowest gives the first n IDs in a row.
func lowest(n uint64, sorted []SubIDRange) (SubIDRange, bool) {
	for _, s := range sorted {
		if uint64(s.Count) >= n {
			return SubIDRange{Start: s.Start, Count: uint32(n)}, true
		}
	}
	return SubIDRange{}, false
}
