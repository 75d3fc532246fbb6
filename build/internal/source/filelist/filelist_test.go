package filelist_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/source/filelist"
)

// file is a line: a kind, a mode in octal digits, an owner, a digest, a mark and a path.
func file(kind byte, path string, sum, mark byte) filelist.File {
	return filelist.File{Kind: kind, Path: path, Mode: 0o644, Sum: [filelist.SumSize]byte{sum},
		Mark: [filelist.MarkSize]byte{mark}}
}

func text(all ...filelist.File) string {
	var lines []byte
	for _, f := range all {
		lines = filelist.Append(lines, f)
	}
	return string(lines)
}

func TestTheFirstDifferenceIsFound(t *testing.T) {
	a, b, d := file('f', "a", 1, 1), file('f', "b", 2, 2), file('d', "d", 3, 3)
	changed := func(f filelist.File, change func(*filelist.File)) filelist.File {
		change(&f)
		return f
	}
	odd := file('f', "with \"quotes\"\nand lines", 1, 1)
	for name, c := range map[string]struct {
		old, now string
		first    *filelist.Change
		count    int
	}{
		"nothing":   {text(a, b), text(a, b), nil, 0},
		"the order": {text(a, b), text(b, a), nil, 0},
		"added":     {text(b), text(b, a), &filelist.Change{Path: "a", What: filelist.Added}, 1},
		"removed":   {text(a, b), text(a), &filelist.Change{Path: "b", What: filelist.Removed}, 1},
		"renamed": {text(a, b), text(a, file('f', "c", 2, 2)), &filelist.Change{Path: "b", What: filelist.Renamed,
			New: "c"}, 1},
		"content": {text(a, b), text(a, file('f', "b", 9, 9)), &filelist.Change{Path: "b", What: filelist.Content,
			Old: "020000000000", New: "090000000000"}, 1},
		"attributes": {text(a, b), text(a, file('f', "b", 9, 2)), &filelist.Change{Path: "b", What: filelist.Attributes}, 1},
		"of many": {text(a, b), text(file('f', "a", 7, 7), file('f', "b", 9, 9)),
			&filelist.Change{Path: "a", What: filelist.Content, Old: "010000000000", New: "070000000000"}, 2},
		"target": {text(file('l', "l", 1, 1)), text(file('l', "l", 2, 2)),
			&filelist.Change{Path: "l", What: filelist.Target, Old: "010000000000", New: "020000000000"}, 1},
		"mode": {text(a), text(changed(a, func(f *filelist.File) { f.Mode = 0o755 })),
			&filelist.Change{Path: "a", What: filelist.Mode, Old: "0644", New: "0755"}, 1},
		"owner": {text(a), text(changed(a, func(f *filelist.File) { f.UID = 7 })),
			&filelist.Change{Path: "a", What: filelist.Owner, Old: "0:0", New: "7:0"}, 1},
		"kind": {text(a), text(file('d', "a", 1, 1)), &filelist.Change{Path: "a", What: filelist.Kind, Old: "file",
			New: "directory"}, 1},
		"in a file of a directory": {text(d, file('f', "d.x", 1, 1), file('f', "d/f", 1, 1)),
			text(file('d', "d", 4, 4), file('f', "d.x", 1, 1), file('f', "d/f", 2, 2)),
			&filelist.Change{Path: "d/f", What: filelist.Content, Old: "010000000000", New: "020000000000"}, 1},
		"somewhere in a directory": {text(d, file('d', "d/e", 1, 1)), text(file('d', "d", 4, 4), file('d', "d/e", 2, 2)),
			&filelist.Change{Path: "d/e", What: filelist.Below}, 1},
		"an odd name": {text(odd), text(changed(odd, func(f *filelist.File) { f.Mode = 0o600 })),
			&filelist.Change{Path: odd.Path, What: filelist.Mode, Old: "0644", New: "0600"}, 1},
		"damaged": {"f 644 0:0 nonsense", text(a), &filelist.Change{Path: "a", What: filelist.Added}, 1},
		"empty":   {"", "", nil, 0},
	} {
		first, count := filelist.Compare(c.old, c.now)
		if diff := cmp.Diff(c.first, first); diff != "" || count != c.count {
			t.Errorf("%s: %d changes: %s", name, count, diff)
		}
	}
}

func TestAShallowListHasWhatIsAbove(t *testing.T) {
	all := text(file('d', "a", 1, 1), file('d', "a/b", 1, 1), file('f', "a/b/c", 1, 1))
	if got := filelist.Shallow(all, 1); strings.Count(got, "\n") != 2 || strings.Contains(got, "a/b/c") {
		t.Error(got)
	}
}
