package userns

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// The first ID and the number of IDs that remedies in errors propose: those that useradd(8) gives the first new user.
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

// SubIDs are the host IDs that an owner may map besides the own IDs.
type SubIDs struct {
	UIDs []SubIDRange
	GIDs []SubIDRange
}

// sharedName is a name in the subordinate ID files that isn't a user's. Its ranges are for steps that root runs.
const sharedName = "containers"

// User is a user of the machine: who calls, or whose ranges are looked for. Files name a user either way, so a line
// counts if it has the name or the ID.
type User struct {
	Name string // login name; "" when the user has none
	ID   uint32 // user ID on the host
}

// String gives the name or, if there is none, the ID.
func (u User) String() string {
	if u.Name != "" {
		return u.Name
	}
	return strconv.FormatUint(uint64(u.ID), 10)
}

// is tells whether a name in a subordinate ID file means the owner. It compares as shadow does: "01000" is not 1000.
func (u User) is(name string) bool {
	return u.Name != "" && u.Name == name || name == strconv.FormatUint(uint64(u.ID), 10)
}

// parseSubIDs gives the owner's ranges in a file of the form of subuid(5), in the
// order of the file. Empty lines, comments that start with # and ranges of no
// IDs are passed over. Any other line that is not NAME:START:COUNT is an error
// with its number, whomever it is about: a typing mistake should not look like a
// missing line. So is a line of the owner's that newuidmap would pass over or
// read otherwise. The error is a [SubIDFileError]. No range at all is not an error.
func parseSubIDs(r io.Reader, owner User) ([]SubIDRange, error) {
	var found []SubIDRange
	err := eachSubID(r, owner, func(l subIDLine) {
		if l.Count > 0 && owner.is(l.name) {
			found = append(found, l.SubIDRange)
		}
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// longestSubIDLine is the longest line that newuidmap reads, in bytes.
const longestSubIDLine = 1023

// subIDLine is a line of a subordinate ID file.
type subIDLine struct {
	number int // number of the line in its file, from 1
	name   string
	SubIDRange
}

// eachSubID calls visit for each line of a subordinate ID file, in order. It refuses lines of the owner that newuidmap
// would refuse, but not if the owner has no ID: such an owner's ranges are used by root, without newuidmap.
func eachSubID(r io.Reader, owner User, visit func(subIDLine)) error {
	lines := bufio.NewScanner(r)
	lines.Split(rawLines)
	n := 0
	for lines.Scan() {
		n++
		raw := lines.Text()
		text := strings.TrimSpace(raw)
		if text == "" || text[0] == '#' {
			continue
		}
		l, problem := parseSubID(text)
		if problem == "" && owner.ID <= MaxID && owner.is(l.name) {
			problem = strictly(raw, l.name)
		}
		if problem != "" {
			return badLine(n, raw, owner, problem)
		}
		l.number = n
		visit(l)
	}

	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return &SubIDFileError{Line: n + 1, Problem: fmt.Sprintf("the line is longer than %d bytes", longestSubIDLine),
			Remedy: "correct or remove that line"}
	case err != nil:
		return fmt.Errorf("read line %d: %w", n+1, err)
	}

	return nil
}

// rawLines splits like [bufio.ScanLines], but keeps carriage returns.
func rawLines(data []byte, atEOF bool) (advance int, line []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

// badLine gives the error for a line; its remedy is a correct line.
func badLine(number int, text string, owner User, problem string) error {
	fields := strings.Split(strings.TrimSpace(text), ":")
	right := fmt.Sprintf("%s:%d:%d", owner, firstSubID, subIDCount)
	if len(fields) == 3 && fields[0] != "" {
		if s, err := newSubIDRange(strings.TrimLeft(fields[1], "0"), strings.TrimLeft(fields[2], "0")); err == "" {
			right = fmt.Sprintf("%s:%d:%d", fields[0], s.Start, s.Count)
		}
	}
	const shown = 60
	if len(text) > shown {
		text = text[:shown] + "..."
	}
	return &SubIDFileError{Line: number, Problem: fmt.Sprintf("%q %s", text, problem), Remedy: "a right line is " + right}
}

// strictly says what newuidmap would object to in a line, "" if nothing. newuidmap trims no spaces and skips no byte.
func strictly(raw, name string) string {
	rest := strings.TrimPrefix(raw, name+":")
	switch {
	case len(raw) > longestSubIDLine:
		return fmt.Sprintf("is longer than %d bytes, and newuidmap passes over it", longestSubIDLine)
	case strings.HasSuffix(raw, "\r"):
		return "ends with a carriage return, and newuidmap passes over it"
	case raw != strings.TrimSpace(raw):
		return "has space around it, and newuidmap does not take it for a line of that name"
	}
	for number := range strings.SplitSeq(rest, ":") {
		if len(number) > 1 && number[0] == '0' {
			return fmt.Sprintf("has %q with a zero in front, which newuidmap takes for octal", number)
		}
	}
	return ""
}

// parseSubID reads a line. problem says what is wrong with it, "" if nothing is.
func parseSubID(text string) (l subIDLine, problem string) {
	name, rest, _ := strings.Cut(text, ":")
	start, count, ok := strings.Cut(rest, ":")
	if !ok || name == "" {
		return l, "is not NAME:START:COUNT"
	}
	l.name = name
	l.SubIDRange, problem = newSubIDRange(start, count)
	return l, problem
}

// newSubIDRange makes a range from two numbers. problem says what is wrong with them, "" if nothing is.
func newSubIDRange(start, count string) (s SubIDRange, problem string) {
	first, err := strconv.ParseUint(start, 10, 32)
	if err != nil {
		return s, fmt.Sprintf("has %q where an ID belongs", start)
	}
	n, err := strconv.ParseUint(count, 10, 32)
	if err != nil {
		return s, fmt.Sprintf("has %q where a count belongs", count)
	}
	s = SubIDRange{Start: uint32(first), Count: uint32(n)}
	if s.end() > uint64(MaxID)+1 {
		return SubIDRange{}, fmt.Sprintf("goes beyond the highest ID %d", MaxID)
	}
	return s, ""
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
		s, problem := newSubIDRange(fields[2], fields[3])
		if problem != "" {
			return nil, fmt.Errorf("%q %s: %w", lines.Text(), problem, ErrBadSubIDs)
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
