package userns

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// What the remedies in errors propose: the first ID and the number of IDs that
// useradd(8) gives a new user.
const (
	firstSubID = 100000
	subIDCount = 65536
)

// SubIDRange is Count consecutive host IDs that start at Start.
type SubIDRange struct {
	Start uint32
	Count uint32
}

// end is one above the range's highest ID.
func (r SubIDRange) end() uint64 { return uint64(r.Start) + uint64(r.Count) }

// SubIDs is what an owner may map besides the own IDs, in host IDs.
type SubIDs struct {
	UIDs []SubIDRange
	GIDs []SubIDRange
}

// SharedName is a name in the files that stands for no user: what root runs in containers has its ranges.
const SharedName = "containers"

// Owner is the user whose ranges are looked for. Files name a user either way, so
// a line counts if it has the name or the ID.
type Owner struct {
	Name string // login name; "" when the user has none
	ID   uint32 // user ID on the host
}

// String gives the name or, if there is none, the ID.
func (o Owner) String() string {
	if o.Name != "" {
		return o.Name
	}
	return strconv.FormatUint(uint64(o.ID), 10)
}

func (o Owner) is(name string) bool {
	if o.Name != "" && o.Name == name {
		return true
	}
	id, err := strconv.ParseUint(name, 10, 32)
	return err == nil && uint32(id) == o.ID
}

// ParseSubIDs gives the owner's ranges in a file of the form of subuid(5), in the
// order of the file. Empty lines, comments that start with # and ranges of no
// IDs are passed over. Any other line that is not NAME:START:COUNT is an error
// with its number, whomever it is about, that matches [ErrBadSubIDs]: a typing
// mistake should not look like a missing line. No range at all is not an error.
func ParseSubIDs(r io.Reader, owner Owner) ([]SubIDRange, error) {
	var found []SubIDRange
	err := eachSubID(r, func(name string, s SubIDRange) {
		if s.Count > 0 && owner.is(name) {
			found = append(found, s)
		}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func eachSubID(r io.Reader, visit func(name string, s SubIDRange)) error {
	lines := bufio.NewScanner(r)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, s, err := parseSubID(line)
		if err != nil {
			return fmt.Errorf("line %d: %q %w", n, line, err)
		}
		visit(name, s)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read line %d: %w", n+1, err)
	}
	return nil
}

func parseSubID(line string) (string, SubIDRange, error) {
	name, rest, _ := strings.Cut(line, ":")
	start, count, ok := strings.Cut(rest, ":")
	if !ok || name == "" {
		return "", SubIDRange{}, fmt.Errorf("is not NAME:START:COUNT: %w", ErrBadSubIDs)
	}
	s, err := newSubIDRange(start, count)
	return name, s, err
}

func newSubIDRange(start, count string) (SubIDRange, error) {
	first, err := strconv.ParseUint(start, 10, 32)
	if err != nil {
		return SubIDRange{}, fmt.Errorf("has %q where an ID belongs: %w", start, ErrBadSubIDs)
	}
	n, err := strconv.ParseUint(count, 10, 32)
	if err != nil {
		return SubIDRange{}, fmt.Errorf("has %q where a count belongs: %w", count, ErrBadSubIDs)
	}
	s := SubIDRange{Start: uint32(first), Count: uint32(n)}
	if s.end() > uint64(MaxID)+1 {
		return SubIDRange{}, fmt.Errorf("goes beyond the highest ID %d: %w", MaxID, ErrBadSubIDs)
	}
	return s, nil
}

// parseGetsubids reads the answer of getsubids(1): lines "0: alice 100000 65536".
func parseGetsubids(r io.Reader) ([]SubIDRange, error) {
	var found []SubIDRange
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 4 {
			return nil, fmt.Errorf("%q is not INDEX: NAME START COUNT: %w", lines.Text(), ErrBadSubIDs)
		}
		s, err := newSubIDRange(fields[2], fields[3])
		if err != nil {
			return nil, fmt.Errorf("%q %w", lines.Text(), err)
		}
		if s.Count > 0 {
			found = append(found, s)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return found, nil
}
