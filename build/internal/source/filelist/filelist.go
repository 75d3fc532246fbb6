// Package filelist writes down which files a step takes, a line each, and compares two such lists: what has changed
// between them, for people who want to know why a step ran.
package filelist

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SumSize and MarkSize are how many bytes of digests a listing has.
const (
	SumSize  = 6
	MarkSize = 4
)

// The kinds of files.
const (
	Regular   = 'f'
	Directory = 'd'
	Link      = 'l'
	Other     = 'o'
)

// A File is a line of a listing.
type File struct {
	// Path is below what the step takes from.
	Path string
	Kind byte
	// Mode has the permission bits with setuid, setgid and sticky; UID and GID are 0 where owners don't count.
	Mode, UID, GID uint32
	// Sum stands for the content with the extended attributes, Mark for the content alone: the bytes of a file, the target
	// of a link. The Sum of a directory stands for all that is in it.
	Sum  [SumSize]byte
	Mark [MarkSize]byte
}

// Append adds the line of a file to a listing.
func Append(text []byte, f File) []byte {
	text = append(text, f.Kind, ' ')
	text = strconv.AppendUint(text, uint64(f.Mode), 8)
	text = append(text, ' ')
	text = strconv.AppendUint(text, uint64(f.UID), 10)
	text = append(text, ':')
	text = strconv.AppendUint(text, uint64(f.GID), 10)
	text = append(text, ' ')
	text = hex.AppendEncode(text, f.Sum[:])
	text = append(text, ' ')
	if f.Mark != [MarkSize]byte(f.Sum[:]) {
		text = hex.AppendEncode(text, f.Mark[:])
	}
	text = append(text, ' ')
	if !plain(f.Path) && strings.ContainsFunc(f.Path, odd) {
		text = strconv.AppendQuoteToASCII(text, f.Path)
	} else {
		text = append(text, f.Path...)
	}
	return append(text, '\n')
}

// plain tells whether a path has nothing but ASCII that can be written as it is: most have, and looking takes less time
// than to take it apart.
func plain(path string) bool {
	for i := range len(path) {
		if c := path[i]; c < ' ' || c > '~' || c == '"' {
			return false
		}
	}
	return true
}

// odd tells whether a path with this character is quoted.
func odd(r rune) bool { return !strconv.IsPrint(r) || r == '"' || r == '\uFFFD' }

// parse reads a line; ok is false for one that nobody has written.
func parse(line string) (f File, ok bool) {
	words := strings.SplitN(line, " ", 6)
	if len(words) != 6 || len(words[0]) != 1 {
		return f, false
	}
	owner, group, _ := strings.Cut(words[2], ":")
	mode, err1 := strconv.ParseUint(words[1], 8, 32)
	uid, err2 := strconv.ParseUint(owner, 10, 32)
	gid, err3 := strconv.ParseUint(group, 10, 32)
	sum, err4 := hex.DecodeString(words[3])
	mark, err5 := hex.DecodeString(cmp.Or(words[4], words[3][:min(len(words[3]), 2*MarkSize)]))
	if cmp.Or(err1, err2, err3, err4, err5) != nil || len(sum) != SumSize || len(mark) != MarkSize {
		return f, false
	}
	f = File{Path: words[5], Kind: words[0][0], Mode: uint32(mode), UID: uint32(uid), GID: uint32(gid),
		Sum: [SumSize]byte(sum), Mark: [MarkSize]byte(mark)}
	if strings.HasPrefix(f.Path, `"`) {
		if plain, err := strconv.Unquote(f.Path); err == nil {
			f.Path = plain
		}
	}
	return f, true
}

// What tells how a file differs.
type What string

// The differences.
const (
	Added      What = "added"
	Removed    What = "removed"
	Renamed    What = "renamed"
	Content    What = "content"
	Target     What = "target"
	Mode       What = "mode"
	Owner      What = "owner"
	Attributes What = "attributes"
	Kind       What = "kind"
	// Below says of a directory that something in it differs, and nobody knows what.
	Below What = "below"
)

// A Change is a file that differs between two listings.
type Change struct {
	Path string `json:"path"`
	What What   `json:"what"`
	// Old and New are digests of the content, modes in octal digits, owners as UID:GID or kinds of files. Of a file that
	// was renamed New is the new path.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// Compare gives the first change between two listings in the order of paths, and how many there are; nil if there is
// none.
func Compare(old, now string) (first *Change, count int) {
	c := comparison{}
	before, after := files(old), files(now)
	for len(before)+len(after) > 0 {
		switch order := orderOf(before, after); {
		case order < 0:
			c.removed = append(c.removed, before[0])
			before = before[1:]
		case order > 0:
			c.added = append(c.added, after[0])
			after = after[1:]
		default:
			c.both(before[0], after[0])
			before, after = before[1:], after[1:]
		}
	}
	return c.result()
}

// orderOf tells whose first file comes first, of two lists of which one at least has some.
func orderOf(a, b []File) int {
	switch {
	case len(b) == 0:
		return -1
	case len(a) == 0:
		return 1
	}
	return cmp.Compare(a[0].Path, b[0].Path)
}

// files are those of a listing, in the order of their paths.
func files(text string) (all []File) {
	for line := range strings.Lines(text) {
		if f, ok := parse(strings.TrimSuffix(line, "\n")); ok {
			all = append(all, f)
		}
	}
	slices.SortStableFunc(all, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return all
}

// comparison collects what differs.
type comparison struct {
	changes        []Change
	added, removed []File
	// below is the deepest directory with another digest than before.
	below string
	inner bool
}

// both compares two files of one path.
func (c *comparison) both(a, b File) {
	change := Change{Path: a.Path}
	switch {
	case a.Kind != b.Kind:
		change.What, change.Old, change.New = Kind, kindName(a.Kind), kindName(b.Kind)
	case a.Kind != Directory && a.Mark != b.Mark:
		change.What, change.Old, change.New = Content, hex.EncodeToString(a.Sum[:]), hex.EncodeToString(b.Sum[:])
		if a.Kind == Link {
			change.What = Target
		}
	case a.Mode != b.Mode:
		change.What, change.Old, change.New = Mode, fmt.Sprintf("%04o", a.Mode), fmt.Sprintf("%04o", b.Mode)
	case a.UID != b.UID || a.GID != b.GID:
		change.What, change.Old, change.New = Owner, a.owner(), b.owner()
	case a.Sum == b.Sum:
		return
	case a.Kind == Directory:
		if !c.inner || strings.Count(a.Path, "/") >= strings.Count(c.below, "/") {
			c.below, c.inner = a.Path, true
		}
		return
	default:
		change.What = Attributes
	}
	c.changes = append(c.changes, change)
}

func (f File) owner() string { return fmt.Sprintf("%d:%d", f.UID, f.GID) }

func kindName(kind byte) string {
	switch kind {
	case Regular:
		return "file"
	case Directory:
		return "directory"
	case Link:
		return "symbolic link"
	}
	return "special file"
}

// result gives the first of the changes, and their number.
func (c *comparison) result() (first *Change, count int) {
	for _, f := range c.removed {
		at := slices.IndexFunc(c.added, func(a File) bool {
			return f.Kind != Directory && a.Kind == f.Kind &&
				a.Sum == f.Sum
		})
		if at < 0 {
			c.changes = append(c.changes, Change{Path: f.Path, What: Removed})
			continue
		}
		c.changes = append(c.changes, Change{Path: f.Path, What: Renamed, New: c.added[at].Path})
		c.added = slices.Delete(c.added, at, at+1)
	}
	for _, f := range c.added {
		c.changes = append(c.changes, Change{Path: f.Path, What: Added})
	}
	if len(c.changes) == 0 && c.inner {
		return &Change{Path: cmp.Or(c.below, "."), What: Below}, 1
	}
	if len(c.changes) == 0 {
		return nil, 0
	}
	slices.SortStableFunc(c.changes, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return &c.changes[0], len(c.changes)
}

// Shallow is a listing without what lies deeper than so many directories.
func Shallow(text string, depth int) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if f, ok := parse(strings.TrimSuffix(line, "\n")); ok && strings.Count(f.Path, "/") <= depth {
			out.WriteString(line)
		}
	}
	return out.String()
}
