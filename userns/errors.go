package userns

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Errors that callers may tell apart with errors.Is.
var (
	// ErrUnmapped means that a map leaves an ID out.
	ErrUnmapped = errors.New("ID is not mapped")
	// ErrBadMap means that ranges make no valid map.
	ErrBadMap = errors.New("not a valid ID map")
	// ErrBadSubIDs means that a subordinate ID file is malformed.
	ErrBadSubIDs = errors.New("not a valid subordinate ID list")
	// ErrNoSubIDs means that the owner has no subordinate user IDs or no subordinate group IDs.
	ErrNoSubIDs = errors.New("no subordinate IDs")
	// ErrNoGetsubids means that nsswitch.conf names a source of ranges other than files, and that getsubids, which reads
	// such sources, is missing.
	ErrNoGetsubids = errors.New("getsubids is not installed")
	// ErrTooFewSubIDs means that the owner's ranges have too few IDs for an image.
	ErrTooFewSubIDs = errors.New("too few subordinate IDs")
)

// Values of Kind and Side in [UnmappedError].
const (
	KindUID       = "uid"
	KindGID       = "gid"
	SideContainer = "container"
	SideHost      = "host"
)

// UnmappedError is an ID that a map leaves out. It matches [ErrUnmapped].
type UnmappedError struct {
	Kind string // KindUID or KindGID; "" in an error of a Map, which may be of either kind
	ID   uint32 // the ID, as seen on Side
	Side string // SideContainer or SideHost: where ID comes from
	Map  Map    // the map that leaves ID out
}

func (e *UnmappedError) Error() string {
	kind, other := e.Kind, SideHost
	if kind == "" {
		kind = "ID"
	}
	if e.Side == SideHost {
		other = SideContainer
	}
	text := strings.ReplaceAll(e.Map.String(), "\n", ", ")
	if text == "" {
		text = "empty"
	}
	return fmt.Sprintf("%s %s %d has no %s ID (the map is %s)", e.Side, kind, e.ID, other, text)
}

// Is makes the error match [ErrUnmapped].
func (e *UnmappedError) Is(target error) bool { return target == ErrUnmapped }

// Grant is a range that an administrator would have to add. The zero value means
// that nothing has to be added.
type Grant struct {
	File  string     // the subordinate ID file
	Range SubIDRange // the range to add; Count 0: no range is free
}

// SubIDFileError says what is wrong with a subordinate ID file or a line of it. It matches [ErrBadSubIDs].
type SubIDFileError struct {
	File    string // path of the file; "" if the text came from a reader
	Line    int    // number of the line, from 1; 0: the file as a whole
	Problem string
	Remedy  string
	Err     error // the cause; may be nil
}

func (e *SubIDFileError) Error() string {
	at := e.File
	switch {
	case at == "":
		at = fmt.Sprintf("line %d", e.Line)
	case e.Line != 0:
		at += fmt.Sprintf(":%d", e.Line)
	}
	return fmt.Sprintf("%s: %s; %s", at, e.Problem, e.Remedy)
}

// Is makes the error match [ErrBadSubIDs].
func (e *SubIDFileError) Is(target error) bool { return target == ErrBadSubIDs }

// Unwrap gives the cause.
func (e *SubIDFileError) Unwrap() error { return e.Err }

// NoSubIDsError says that an owner has no subordinate IDs. It matches [ErrNoSubIDs].
type NoSubIDsError struct {
	User   User
	Source string // "" for files, else the nsswitch.conf source, such as "sss"
	UIDs   Grant  // zero when there are user ranges
	GIDs   Grant  // zero when there are group ranges
}

// Files gives the paths of the subordinate ID files that lack a line for the owner.
func (e *NoSubIDsError) Files() []string {
	var files []string
	for _, g := range []Grant{e.UIDs, e.GIDs} {
		if g.File != "" {
			files = append(files, g.File)
		}
	}
	return files
}

func (e *NoSubIDsError) Error() string {
	if e.Source != "" {
		return fmt.Sprintf("%s has no subordinate IDs in the source %q of nsswitch.conf; "+
			"have 65536 user and group IDs assigned to %[1]s there", e.User, e.Source)
	}
	return fmt.Sprintf("%s has no line in %s; %s",
		e.User, strings.Join(e.Files(), " and "), remedy(e.User, e.UIDs, e.GIDs))
}

// Is makes the error match [ErrNoSubIDs].
func (e *NoSubIDsError) Is(target error) bool { return target == ErrNoSubIDs }

// RangeError names every ID that an image needs and its builder's ranges do not
// reach. It matches [ErrTooFewSubIDs] and [ErrUnmapped].
type RangeError struct {
	User        User
	Source      string   // "" for files, else the nsswitch.conf source, such as "sss"
	Sub         SubIDs   // what the owner has; may be empty when it is not known
	Missing     []uint32 // container user IDs that are not mapped, sorted
	MissingGIDs []uint32 // container group IDs that are not mapped, sorted
	UIDs        Grant    // what would have to be added for Missing
	GIDs        Grant    // what would have to be added for MissingGIDs
}

func (e *RangeError) Error() string {
	var parts []string
	if len(e.Missing) > 0 {
		parts = append(parts, e.shortage(e.UIDs.File, e.Sub.UIDs)+"the image needs user IDs "+listIDs(e.Missing))
	}
	if len(e.MissingGIDs) > 0 {
		parts = append(parts, e.shortage(e.GIDs.File, e.Sub.GIDs)+"the image needs group IDs "+listIDs(e.MissingGIDs))
	}
	if e.Source != "" {
		return fmt.Sprintf("%s; have more IDs assigned to %s in the source %q of nsswitch.conf",
			strings.Join(parts, ", "), e.User, e.Source)
	}
	return strings.Join(parts, ", ") + "; " + remedy(e.User, e.UIDs, e.GIDs)
}

// Is makes the error match [ErrTooFewSubIDs] and [ErrUnmapped].
func (e *RangeError) Is(target error) bool {
	return target == ErrTooFewSubIDs || target == ErrUnmapped
}

// shortage gives the beginning of a message, such as "alice:100000:65536 in /etc/subuid is too short: ". have are the
// owner's ranges in that file.
func (e *RangeError) shortage(file string, have []SubIDRange) string {
	if len(have) == 0 {
		return "the ID map is too short: "
	}
	lines := make([]string, len(have))
	for i, r := range have {
		lines[i] = fmt.Sprintf("%s:%d:%d", e.User, r.Start, r.Count)
	}
	verb := "is"
	if len(have) > 1 {
		verb = "are"
	}
	in := ""
	if file != "" {
		in = " in " + file
	}
	return fmt.Sprintf("%s%s %s too short: ", strings.Join(lines, " "), in, verb)
}

func listIDs(ids []uint32) string {
	text := make([]string, len(ids))
	for i, id := range ids {
		text[i] = strconv.FormatUint(uint64(id), 10)
	}
	return strings.Join(text, ", ")
}

// remedy gives the command that adds the grants for the owner.
func remedy(owner User, uids, gids Grant) string {
	if (uids.File != "" && uids.Range.Count == 0) || (gids.File != "" && gids.Range.Count == 0) {
		return "no free range is that long: use a base image with lower IDs"
	}
	if owner.Name == "" || owner.Name == sharedName { // usermod takes only the name of a user
		var lines []string
		for _, g := range []Grant{uids, gids} {
			if g.File != "" {
				lines = append(lines, fmt.Sprintf("echo %s:%d:%d >> %s", owner, g.Range.Start, g.Range.Count, g.File))
			}
		}
		return "run as root: " + strings.Join(lines, "; ")
	}
	cmd := "usermod"
	if uids.File != "" {
		cmd += fmt.Sprintf(" --add-subuids %d-%d", uids.Range.Start, uids.Range.end()-1)
	}
	if gids.File != "" {
		cmd += fmt.Sprintf(" --add-subgids %d-%d", gids.Range.Start, gids.Range.end()-1)
	}
	return fmt.Sprintf("run as root: %s %s", cmd, owner.Name)
}
