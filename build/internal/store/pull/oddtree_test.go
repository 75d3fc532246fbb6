package pull

import (
	"archive/tar"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// told describes what becomes of a tree's members, by their numbers.
func told(t *oddTree) (all []string) {
	members, opaque, implied := t.result()
	for i := range t.next {
		m := members[i]
		if m == nil || m.kind == oddDropped {
			continue
		}
		kind := map[oddKind]string{oddDir: "dir", oddWhiteout: "whiteout", oddContent: "file"}[m.kind]
		text := fmt.Sprintf("%d %s %s", i, kind, strings.Join(m.names, " "))
		if m.below != "" {
			text += " of " + m.below
		}
		all = append(all, text)
	}
	for _, dir := range opaque {
		all = append(all, "opaque "+dir)
	}
	for _, dir := range implied {
		all = append(all, "implied "+dir)
	}
	return all
}

// treeOf adds members to a tree: "NAME" for a file, "NAME/" for a directory, "NAME=TARGET" for a hard link.
func treeOf(names ...string) (*oddTree, error) {
	t := newOddTree()
	for _, name := range names {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name}
		if strings.HasSuffix(name, "/") {
			h.Typeflag = tar.TypeDir
		} else if link, target, ok := strings.Cut(name, "="); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeLink, link, target
		}
		if err := t.add(h); err != nil {
			return t, err
		}
	}
	return t, nil
}

func TestTheLastMemberOfAPathCounts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ members, want []string }{
		"nothing":                            {nil, nil},
		"the root":                           {[]string{"/"}, []string{"0 dir /"}},
		"a file twice":                       {[]string{"a", "./a"}, []string{"1 file /a"}},
		"a directory twice":                  {[]string{"d/", "d/x", "d/"}, []string{"1 file /d/x", "2 dir /d"}},
		"a file, a directory":                {[]string{"a", "a/", "a/x"}, []string{"1 dir /a", "2 file /a/x", "opaque /a"}},
		"a directory, a file":                {[]string{"d/", "d/x", "d"}, []string{"2 file /d"}},
		"a file, a link to it, another file": {[]string{"a", "b=a", "a"}, []string{"0 file /b", "2 file /a"}},
		"links to one another": {[]string{"a", "b=a", "c=b", "a/"},
			[]string{"0 file /b /c", "3 dir /a", "opaque /a"}},
		"links to what is below":     {[]string{"a=low/x", "b=a"}, []string{"0 file /a /b of /low/x"}},
		"a link to itself below":     {[]string{"a=a"}, []string{"0 file /a of /a"}},
		"a whiteout":                 {[]string{".wh.a"}, []string{"0 whiteout /a"}},
		"a whiteout of its own file": {[]string{"a", ".wh.a"}, []string{"1 whiteout /a"}},
		"a whiteout and a file":      {[]string{".wh.a", "a"}, []string{"1 file /a"}},
		"a whiteout and a directory": {[]string{".wh.d", "d/", "d/x"},
			[]string{"1 dir /d", "2 file /d/x", "opaque /d"}},
		"a whiteout and an implied one": {[]string{".wh.d", "d/e/x"}, []string{"1 file /d/e/x", "opaque /d",
			"implied /d", "implied /d/e"}},
		"whiteouts in an opaque directory": {[]string{"d/.wh.a", "d/.wh..wh..opq", "d/x"},
			[]string{"2 file /d/x", "opaque /d", "implied /d"}},
		"an opaque root": {[]string{".wh..wh..opq", "a"}, []string{"1 file /a", "opaque /"}},
		"marks of aufs":  {[]string{".wh..wh.plnk", ".wh..wh.aufs/x", "a"}, []string{"2 file /a"}},
	} {
		tree, err := treeOf(c.members...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := told(tree)
		for i := range got { // the names of one file are in any order
			words := strings.Split(got[i], " ")
			if len(words) > 2 && words[1] == "file" && !strings.Contains(got[i], " of ") {
				slices.Sort(words[2:])
			}
			got[i] = strings.Join(words, " ")
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMembersThatCanNotBeAreRefusedWithTheirNames(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		members []string
		want    string
	}{
		"a file as the root": {[]string{"."},
			`its archive has a member "." that is no directory and would be the root`},
		"below a file": {[]string{"a", "a/b"},
			`its archive has members below "/a/", which it says is no directory`},
		"far below a file": {[]string{"a", "a/b/c"},
			`its archive has members below "/a/b/", which it says is no directory`},
		"hides nothing": {[]string{"d/.wh."},
			`its archive has a whiteout "d/.wh.", which hides nothing that can be`},
		"hides itself": {[]string{".wh.."},
			`its archive has a whiteout ".wh..", which hides nothing that can be`},
		"hides what is above": {[]string{".wh..."},
			`its archive has a whiteout ".wh...", which hides nothing that can be`},
		"a link to a directory": {[]string{"d/", "h=d"}, `its archive has a hard link "h" to "d", which is a directory`},
		"a link to the root":    {[]string{"h=."}, `its archive has a hard link "h" to ".", which is a directory`},
		"a link below a file": {[]string{"a", "h=a/b"},
			`a hard link "h" to "a/b", which is below what is no directory`},
		"a link to what is hidden": {[]string{".wh.a", "h=a"}, `a hard link "h" to "a", which is not there`},
		"a link into what is":      {[]string{".wh.d", "h=d/a"}, `a hard link "h" to "d/a", which is not there`},
		"a link into a new one":    {[]string{".wh.d", "d/", "h=d/a"}, `a hard link "h" to "d/a", which is not there`},
		"a link into an opaque one": {[]string{"d/.wh..wh..opq", "h=d/e/a"},
			`a hard link "h" to "d/e/a", which is not there`},
	} {
		if _, err := treeOf(c.members...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestPathsNameABoundedNumberOfDirectories has paths of thousands of directories each.
func TestPathsNameABoundedNumberOfDirectories(t *testing.T) {
	t.Parallel()
	tree := newOddTree()
	tree.implied = maxImplied - 3
	add := func(name string) error { return tree.add(&tar.Header{Typeflag: tar.TypeReg, Name: name}) }
	if err := add("a/b/c/x"); err != nil {
		t.Error(err)
	}
	if err := add("a/b/c/y"); err != nil { // they are there
		t.Error(err)
	}
	const want = "its archive has paths with more than 1048576 directories that are no members of it"
	if err := add("a/b/c/d/z"); err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestHiddenNamesComeBackWithTheirOwnFiles: a whiteout counts for what came before it.
func TestHiddenNamesComeBackWithTheirOwnFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ members, want []string }{
		"a directory, its whiteout, another": {[]string{"d/", "d/x", ".wh.d", "d/", "d/y"},
			[]string{"3 dir /d", "4 file /d/y", "opaque /d"}},
		"a file, its whiteout, another": {[]string{"a", ".wh.a", "a"}, []string{"2 file /a"}},
		"a link to what was hidden":     {[]string{"a", "b=a", ".wh.a"}, []string{"0 file /b", "2 whiteout /a"}},
		"whiteouts on the way": {[]string{".wh.a", "a/b/c", "a/.wh.b"}, []string{"2 whiteout /a/b", "opaque /a",
			"implied /a"}},
		"opaque, and then its files": {[]string{"d/.wh..wh..opq", "d/.wh.x", "d/x"}, []string{"2 file /d/x", "opaque /d",
			"implied /d"}},
	} {
		tree, err := treeOf(c.members...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(c.want, told(tree)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	h := &tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header"}
	tree, err := treeOf("a")
	if err == nil {
		err = tree.add(h)
	}
	if diff := cmp.Diff([]string{"0 file /a"}, told(tree)); err != nil || diff != "" {
		t.Errorf("a global header: %v (-want +got):\n%s", err, diff)
	}
}
