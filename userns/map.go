package userns

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// maxRanges is the number of lines that Linux (4.15 and later) takes in one ID map.
const maxRanges = 340

// MaxID is the highest ID that can be mapped. The one above it, 4294967295, means
// "no ID" to chown(2) and setresuid(2), and the kernel refuses it in a map.
const MaxID uint32 = math.MaxUint32 - 1

// Range maps Length consecutive IDs that start at Container to those that start at Host.
type Range struct {
	Container uint32 // first ID inside the namespace
	Host      uint32 // first ID outside it
	Length    uint32 // number of IDs, at least 1
}

// String gives the line that /proc/PID/uid_map takes, without a newline.
func (r Range) String() string {
	return string(r.appendTo(nil))
}

func (r Range) appendTo(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(r.Container), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(r.Host), 10)
	b = append(b, ' ')
	return strconv.AppendUint(b, uint64(r.Length), 10)
}

func (r Range) check() error {
	switch {
	case r.Length == 0:
		return fmt.Errorf("range %q is empty: %w", r, ErrBadMap)
	case uint64(r.Container)+uint64(r.Length)-1 > uint64(MaxID),
		uint64(r.Host)+uint64(r.Length)-1 > uint64(MaxID):
		return fmt.Errorf("range %q goes beyond the highest ID %d: %w", r, MaxID, ErrBadMap)
	}
	return nil
}

// Map is an ID map: ranges sorted by Container that overlap on neither side.
// Make one with [NewMap] or [ParseMap]; the zero value maps nothing. A Map is
// never changed after it is made and may be shared between goroutines.
type Map []Range

// NewMap sorts the ranges into a map. An empty range, one that goes beyond
// [MaxID], two that overlap on either side, and more than 340 ranges are
// errors that match [ErrBadMap].
func NewMap(ranges ...Range) (Map, error) {
	if len(ranges) > maxRanges {
		return nil, fmt.Errorf("%d ranges, the kernel takes %d: %w", len(ranges), maxRanges, ErrBadMap)
	}
	for _, r := range ranges {
		if err := r.check(); err != nil {
			return nil, err
		}
	}
	m := slices.Clone(Map(ranges))
	slices.SortFunc(m, func(a, b Range) int { return cmp.Compare(a.Host, b.Host) })
	for i := 1; i < len(m); i++ {
		if m[i].Host-m[i-1].Host < m[i-1].Length {
			return nil, fmt.Errorf("ranges %q and %q share host IDs: %w", m[i-1], m[i], ErrBadMap)
		}
	}
	slices.SortFunc(m, func(a, b Range) int { return cmp.Compare(a.Container, b.Container) })
	for i := 1; i < len(m); i++ {
		if m[i].Container-m[i-1].Container < m[i-1].Length {
			return nil, fmt.Errorf("ranges %q and %q share container IDs: %w", m[i-1], m[i], ErrBadMap)
		}
	}
	return m, nil
}

// ToHost gives the host ID of a container ID. The error for one that the map
// leaves out is an [UnmappedError].
func (m Map) ToHost(container uint32) (uint32, error) {
	if r, ok := m.find(container); ok {
		return r.Host + (container - r.Container), nil
	}
	return 0, &UnmappedError{ID: container, Side: SideContainer, Map: m}
}

// ToContainer gives the container ID of a host ID. The error for one that the map
// leaves out is an [UnmappedError].
func (m Map) ToContainer(host uint32) (uint32, error) {
	for _, r := range m {
		// An unsigned difference also rules out host < r.Host.
		if host-r.Host < r.Length {
			return r.Container + (host - r.Host), nil
		}
	}
	return 0, &UnmappedError{ID: host, Side: SideHost, Map: m}
}

// Missing gives those of the container IDs that the map leaves out, sorted, each
// once. It is nil when all are mapped.
func (m Map) Missing(containerIDs []uint32) []uint32 {
	var missing []uint32
	for _, id := range containerIDs {
		if _, ok := m.find(id); !ok {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

// Highest gives the highest container ID that is mapped; 0 for an empty map.
func (m Map) Highest() uint32 {
	if len(m) == 0 {
		return 0
	}
	last := m[len(m)-1]
	return last.Container + (last.Length - 1)
}

// String gives the map as /proc/PID/uid_map takes it: a line "CONTAINER HOST LENGTH"
// for each range, with no newline at the end.
func (m Map) String() string {
	var b []byte
	for i, r := range m {
		if i > 0 {
			b = append(b, '\n')
		}
		b = r.appendTo(b)
	}
	return string(b)
}

// Writable gives an error that matches [ErrBadMap] if the kernel would refuse the map as too long: a map is written in
// one call, which takes less than a page. 340 ranges of small numbers fit in that, but not of large ones.
func (m Map) Writable() error {
	if n, page := len(m.String())+1, os.Getpagesize(); n >= page {
		return fmt.Errorf("%d ranges are %d bytes long when written, and the kernel takes less than %d: %w", len(m), n, page,
			ErrBadMap)
	}
	return nil
}

// ParseMap reads a map in the form of /proc/PID/uid_map, where the columns are
// padded with spaces. Errors match [ErrBadMap].
func ParseMap(text string) (Map, error) {
	ranges, err := ParseRanges(text)
	if err != nil {
		return nil, err
	}
	m, err := NewMap(ranges...)
	if err != nil {
		return nil, fmt.Errorf("parse ID map: %w", err)
	}
	return m, nil
}

// ParseRanges reads the lines of a map as [ParseMap] does, but gives the ranges in the order of the lines and doesn't
// check that together they are a valid map.
func ParseRanges(text string) ([]Range, error) {
	var ranges []Range
	for i, line := range strings.Split(text, "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("parse ID map: line %d: %q is not three numbers: %w", i+1, line, ErrBadMap)
		}
		var n [3]uint32
		for j, f := range fields {
			v, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("parse ID map: line %d: %q is not an ID: %w", i+1, f, ErrBadMap)
			}
			n[j] = uint32(v)
		}
		// The initial namespace reads "0 0 4294967295": its last ID is MaxID.
		ranges = append(ranges, Range{Container: n[0], Host: n[1], Length: n[2]})
	}
	return ranges, nil
}

// find gives the range that holds a container ID.
func (m Map) find(container uint32) (Range, bool) {
	i := sort.Search(len(m), func(i int) bool { return m[i].Container > container })
	if i == 0 || container-m[i-1].Container >= m[i-1].Length {
		return Range{}, false
	}
	return m[i-1], true
}
