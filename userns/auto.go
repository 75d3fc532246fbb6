package userns

import (
	"errors"
	"fmt"
)

// ErrNoFreeIDs means that no range is left that is long enough for --userns=auto.
var ErrNoFreeIDs = errors.New("no free range of IDs")

// minAutoSize is the least number of IDs that --userns=auto takes when no size is given: the default of
// containers/storage.
const minAutoSize = 1024

// AutoOptions are the IDs that --userns=auto can choose from, and how many it takes.
type AutoOptions struct {
	Size      uint32  // number of IDs; 0: [AutoSize] of the image
	UIDs      []Range // ranges, container IDs to intermediate IDs, that the user map always has
	GIDs      []Range // ranges, container IDs to intermediate IDs, that the group map always has
	Available SubIDs  // the intermediate IDs to choose from
}

// AutoSize gives the number of IDs that an image needs. owner is the highest user or group ID of a file in its layers,
// named the highest ID in its /etc/passwd and /etc/group.
func AutoSize(owner, named uint32) uint32 {
	return max(minAutoSize, min(max(owner, named), MaxID-1)+1)
}

// Limit is the highest container ID for which there could be enough available IDs; a caller that looks for the highest
// ID of an image may ignore higher ones.
func (a AutoOptions) Limit() uint32 {
	n := min(total(a.Available.UIDs), total(a.Available.GIDs))
	if n == 0 {
		return 0
	}
	return uint32(n - 1)
}

// Allocate maps the container IDs 0 to size-1 to the lowest free range of available IDs: one that is on the host side
// (intermediate IDs) of no map in used. The fixed ranges of a are part of the map too; they don't have to be free.
// a.Size, if not 0, replaces size. The error matches [ErrNoFreeIDs] if no free range is long enough, [ErrTooFewSubIDs]
// if no available range would be even if all were free, and [ErrBadMap] if the fixed ranges make no map.
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

// autoError adds to an error what couldn't be done. An error that matches [ErrBadMap] becomes a [RequestError]: only
// the options of --userns=auto can ask for an invalid map.
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

// noFree gives the error for need IDs that aren't free in a row: there are too few of them even without other users, or
// others use them. available are all IDs to choose from, unused those of them that the fixed ranges leave.
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

// lowest gives the lowest n consecutive IDs of sorted ranges.
func lowest(n uint64, sorted []SubIDRange) (SubIDRange, bool) {
	for _, s := range sorted {
		if uint64(s.Count) >= n {
			return SubIDRange{Start: s.Start, Count: uint32(n)}, true
		}
	}
	return SubIDRange{}, false
}
