package userns

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ErrNoFreeIDs means that no range is left that is long enough for --userns=auto.
var ErrNoFreeIDs = errors.New("no free range of IDs")

// The limits within which [HighestID] reads a file of an image.
const (
	maxEtcBytes = 1 << 20
	maxEtcLines = 10000
)

// minAutoSize is the least number of IDs that --userns=auto takes of itself; containers/storage's own default.
const minAutoSize = 1024

// AutoOptions are what --userns=auto can choose from.
type AutoOptions struct {
	Size      uint32  // number of IDs; 0: [AutoSize] says
	UIDs      []Range // container IDs to intermediate IDs that the user map has in any case
	GIDs      []Range // and the group map
	Available SubIDs  // the intermediate IDs to choose from
}

// HighestID gives the highest user or group ID in an image's /etc/passwd and /etc/group; 0 if there is none. IDs above limit
// are ignored, and so is 65534, which is nobody and owns nothing. The files are the image's and may be hostile: of each, no
// more than the first MiB and the first 10,000 lines count, and a line that isn't one is passed over. Either may be nil.
func HighestID(passwd, group io.Reader, limit uint32) (uint32, error) {
	var highest uint32
	for _, file := range []struct {
		name   string
		in     io.Reader
		fields []int // where IDs are
	}{{"passwd", passwd, []int{2, 3}}, {"group", group, []int{2}}} {
		if file.in == nil {
			continue
		}
		lines := bufio.NewScanner(io.LimitReader(file.in, maxEtcBytes))
		lines.Buffer(nil, maxEtcBytes+1) // no line is longer than the file
		for n := 0; n < maxEtcLines && lines.Scan(); n++ {
			fields := strings.SplitN(lines.Text(), ":", 5)
			for _, i := range file.fields {
				if i >= len(fields) {
					continue
				}
				id, err := strconv.ParseUint(fields[i], 10, 32)
				if err == nil && id != 65534 && id <= uint64(limit) {
					highest = max(highest, uint32(id))
				}
			}
		}
		if err := lines.Err(); err != nil {
			return 0, fmt.Errorf("read %s of the image: %w", file.name, err)
		}
	}
	return highest, nil
}

// AutoSize is the number of IDs for an image whose highest owner in a layer, and whose [HighestID], are these.
func AutoSize(owner, named uint32) uint32 {
	return max(minAutoSize, min(max(owner, named), MaxID-1)+1)
}

// Limit is the highest container ID that could fit: the limit for [HighestID].
func (a AutoOptions) Limit() uint32 {
	n := min(total(a.Available.UIDs), total(a.Available.GIDs))
	if n == 0 {
		return 0
	}
	return uint32(n - 1)
}

// Allocate chooses for container IDs 0 to size-1 the lowest range of available IDs that no map of used has on its host side
// (intermediate IDs). The fixed ranges are put in; they don't have to be free. a.Size, if set, is used instead of size. The
// error matches [ErrNoFreeIDs] if nothing is left, and [ErrBadMap] if the fixed ranges make no map.
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
		return Mapping{}, fmt.Errorf("choose user IDs for --userns=auto: %w", err)
	}
	gids, err := allocate(size, a.GIDs, a.Available.GIDs, usedGIDs)
	if err != nil {
		return Mapping{}, fmt.Errorf("choose group IDs for --userns=auto: %w", err)
	}
	return Mapping{UIDs: uids, GIDs: gids}, nil
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
			return nil, fmt.Errorf("%d in a row are needed, and of all %d none such are free: %w; "+
				"wait for other builds and containers, give less with --userns=auto:size=N, or add subordinate IDs with usermod",
				need, total(available), ErrNoFreeIDs)
		}
		added, _ := pair(inside, s)
		ranges = append(ranges, added...)
	}
	return NewMap(merge(ranges)...)
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
