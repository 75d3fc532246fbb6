package userns

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Mapping is the pair of maps that makes a user namespace.
type Mapping struct {
	UIDs Map
	GIDs Map
}

// IDs is a set of user IDs and a set of group IDs, in no particular order.
type IDs struct {
	UIDs []uint32
	GIDs []uint32
}

// Empty reports whether there are neither user nor group IDs.
func (i IDs) Empty() bool { return len(i.UIDs) == 0 && len(i.GIDs) == 0 }

// With gives the union of two sets.
func (i IDs) With(more IDs) IDs {
	return IDs{UIDs: slices.Concat(i.UIDs, more.UIDs), GIDs: slices.Concat(i.GIDs, more.GIDs)}
}

// Initial reports whether the mapping is that of the initial user namespace, in which every ID is itself.
func (m Mapping) Initial() bool {
	all := Range{Length: MaxID + 1}
	return slices.Equal(m.UIDs, Map{all}) && slices.Equal(m.GIDs, Map{all})
}

// Highest gives the highest ID of both kinds; 0 if there is none.
func (i IDs) Highest() uint32 {
	var highest uint32
	for _, id := range slices.Concat(i.UIDs, i.GIDs) {
		highest = max(highest, id)
	}
	return highest
}

// ToHost gives the host IDs of a container's owner and group. The error for an ID
// that is not mapped is an [UnmappedError] with its Kind set.
func (m Mapping) ToHost(uid, gid uint32) (hostUID, hostGID uint32, err error) {
	if hostUID, err = m.UIDs.ToHost(uid); err != nil {
		return 0, 0, withKind(err, KindUID)
	}
	if hostGID, err = m.GIDs.ToHost(gid); err != nil {
		return 0, 0, withKind(err, KindGID)
	}
	return hostUID, hostGID, nil
}

// ToContainer gives the container's view of an owner and group on disk. The error
// for an ID that is not mapped is an [UnmappedError] with its Kind set.
func (m Mapping) ToContainer(uid, gid uint32) (containerUID, containerGID uint32, err error) {
	if containerUID, err = m.UIDs.ToContainer(uid); err != nil {
		return 0, 0, withKind(err, KindUID)
	}
	if containerGID, err = m.GIDs.ToContainer(gid); err != nil {
		return 0, 0, withKind(err, KindGID)
	}
	return containerUID, containerGID, nil
}

// Missing gives the container IDs of need that the mapping leaves out, sorted,
// each once.
func (m Mapping) Missing(need IDs) IDs {
	return IDs{UIDs: m.UIDs.Missing(need.UIDs), GIDs: m.GIDs.Missing(need.GIDs)}
}

// withKind sets the Kind of an [UnmappedError] that a Map gave.
func withKind(err error, kind string) error {
	var unmapped *UnmappedError
	if errors.As(err, &unmapped) {
		unmapped.Kind = kind
	}
	return err
}

// Default gives the mapping of an ordinary user: container ID 0 is the caller's
// own ID, and 1 upwards are the subordinate IDs, lowest range first, without gaps.
// That is the order podman and buildah use, so the owners in a shared store agree.
//
// The error matches [ErrNoSubIDs] when there are no user or no group ranges: a
// namespace of one ID can't hold an image with a second owner, so there is no
// such fallback. It matches [ErrBadMap] when a range holds the caller's own ID.
func Default(uid, gid uint32, sub SubIDs) (Mapping, error) {
	if err := sub.check(User{ID: uid}); err != nil {
		return Mapping{}, err
	}
	uids, err := stack([]Range{{Host: uid, Length: 1}}, sub.UIDs)
	if err != nil {
		return Mapping{}, fmt.Errorf("map user IDs: %w", err)
	}
	gids, err := stack([]Range{{Host: gid, Length: 1}}, sub.GIDs)
	if err != nil {
		return Mapping{}, fmt.Errorf("map group IDs: %w", err)
	}
	return Mapping{UIDs: uids, GIDs: gids}, nil
}

// FromSubIDs gives a mapping of subordinate IDs alone: container IDs from 0 upwards
// are the ranges, lowest first, without gaps. It is for steps that root runs.
// Errors are those of [Default].
func FromSubIDs(sub SubIDs) (Mapping, error) {
	if err := sub.check(User{Name: "root"}); err != nil {
		return Mapping{}, err
	}
	uids, err := stack(nil, sub.UIDs)
	if err != nil {
		return Mapping{}, fmt.Errorf("map user IDs: %w", err)
	}
	gids, err := stack(nil, sub.GIDs)
	if err != nil {
		return Mapping{}, fmt.Errorf("map group IDs: %w", err)
	}
	return Mapping{UIDs: uids, GIDs: gids}, nil
}

func (s SubIDs) check(owner User) error {
	e := &NoSubIDsError{User: owner}
	if total(s.UIDs) == 0 {
		e.UIDs = Grant{File: DefaultSubUID, Range: SubIDRange{firstSubID, subIDCount}}
	}
	if total(s.GIDs) == 0 {
		e.GIDs = Grant{File: DefaultSubGID, Range: SubIDRange{firstSubID, subIDCount}}
	}
	if e.UIDs.File == "" && e.GIDs.File == "" {
		return nil
	}
	return e
}

// stack appends subordinate ranges to a map whose ranges leave no gap. The end of
// the ID space cuts the last range: container IDs above it don't exist.
func stack(ranges []Range, sub []SubIDRange) (Map, error) {
	var next uint64
	for _, r := range ranges {
		next += uint64(r.Length)
	}
	for _, s := range disjoint(sub) {
		length := min(uint64(s.Count), uint64(MaxID)+1-next)
		if length == 0 {
			break
		}
		ranges = append(ranges, Range{Container: uint32(next), Host: s.Start, Length: uint32(length)})
		next += length
	}
	return NewMap(ranges...)
}

// disjoint sorts ranges and trims what a lower one already covers: an
// administrator who lists a range by name and again by number means one range.
func disjoint(sub []SubIDRange) []SubIDRange {
	sorted := slices.Clone(sub)
	slices.SortFunc(sorted, func(a, b SubIDRange) int {
		return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(b.Count, a.Count))
	})
	out := sorted[:0]
	var end uint64 // one above the highest ID covered so far
	for _, s := range sorted {
		last := s.end()
		if last <= end || s.Count == 0 {
			continue
		}
		start := max(uint64(s.Start), end)
		out = append(out, SubIDRange{Start: uint32(start), Count: uint32(last - start)})
		end = last
	}
	return out
}

func total(sub []SubIDRange) uint64 {
	var n uint64
	for _, s := range disjoint(sub) {
		n += uint64(s.Count)
	}
	return n
}
