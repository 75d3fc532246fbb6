package source

import (
	"os"
	"sort"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// collector lists what Walk visits; a directory counts once something is in it, if it is excluded.
type collector struct {
	mu    sync.Mutex
	names map[string]bool
}

type collected struct {
	parent *collected
	name   string
	wanted bool
}

func (c *collector) add(d *collected) {
	for ; d != nil && d.name != ""; d = d.parent {
		c.names[d.name+"/"] = true
	}
}

func (c *collector) Enter(parent *collected, e Entry, _ int) (*collected, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &collected{parent: parent, name: e.Path(), wanted: !e.Excluded}
	if d.wanted {
		c.add(d)
	}
	return d, nil
}

func (c *collector) Visit(d *collected, e Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(d)
	c.names[e.Path()] = true
	return nil
}

func (*collector) Leave(*collected, bool) error { return nil }

// taken lists the paths that a query takes, with those of files by their paths below the root.
func taken(t *testing.T, root string, q Query) ([]string, error) {
	t.Helper()
	sel, err := Select(openRoot(t, root), q)
	if err != nil {
		return nil, err
	}
	defer func() { check(t, sel.Close()) }()
	c := &collector{names: map[string]bool{}}
	for _, item := range sel.Items {
		if !item.IsDir() {
			c.names[item.Path] = true
			continue
		}
		check(t, Walk(t.Context(), TreeOf(item, q.Filter, &collected{}), c))
	}
	var names []string
	for name := range c.names {
		names = append(names, name)
	}
	sort.Strings(names)
	return names, nil
}

func TestExcludes(t *testing.T) {
	root := tree(t, "hom1.txt", "hom2.go", "d/a.txt", "d/b.go", "d/s/c.txt", "d/s/d.go", "d/s/t/e.txt", "e/a.txt",
		"odd/!x", "odd/#y", "odd/ z")
	for _, c := range []struct {
		name, source string
		excludes     []string
		want         string
	}{
		{"below the source", "d", []string{"*.txt"}, "d/b.go d/s/ d/s/c.txt d/s/d.go d/s/t/ d/s/t/e.txt"},
		{"any depth", "d", []string{"**/*.txt"}, "d/b.go d/s/ d/s/d.go d/s/t/"},
		{"several", "d", []string{"*.txt", "s/*.txt", "s/t"}, "d/b.go d/s/ d/s/d.go"},
		{"a directory with all below", "d", []string{"s"}, "d/a.txt d/b.go"},
		{"a leading slash", "d", []string{"/s", "/a.txt"}, "d/b.go"},
		{"not by the path from the root", "d", []string{"d/a.txt", "d"},
			"d/a.txt d/b.go d/s/ d/s/c.txt d/s/d.go d/s/t/ d/s/t/e.txt"},
		{"an exception", "d", []string{"**/*.txt", "!s/*.txt"}, "d/b.go d/s/ d/s/c.txt d/s/d.go d/s/t/"},
		{"an exception below what is excluded", "d", []string{"*", "!s/t"}, "d/s/ d/s/t/ d/s/t/e.txt"},
		{"the last one decides", "d", []string{"!a.txt", "*.txt", "s"}, "d/b.go"},
		{"of each source", "[de]", []string{"a.txt", "s"}, "d/b.go"},
		{"files that are sources by their names", "hom*", []string{"*.txt"}, "hom2.go"},
		{"but not a file that is named", "hom1.txt", []string{"*.txt", "hom1.txt"}, "hom1.txt"},
		{"in a directory too", "d/*.txt", []string{"a.*"}, ""},
		{"with an exception", "hom*", []string{"*", "!*.go"}, "hom2.go"},
		{"all", "d", []string{"*"}, ""},
		{"no comments", "odd", []string{"#y"}, "odd/ z odd/!x"},
		{"an escaped exclamation mark", "odd", []string{`\!x`}, "odd/ z odd/#y"},
		{"none", "e", nil, "e/a.txt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := taken(t, root, Query{Patterns: []string{c.source}, Excludes: c.excludes})
			check(t, err)
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if _, err := taken(t, root, Query{Patterns: []string{"d"}, Excludes: []string{"[x"}}); err == nil {
		t.Error("a pattern that can't be is no error")
	}
}

func TestParents(t *testing.T) {
	root := tree(t, "f", "a/b/c/d/foo", "a/b/c/d/e/bay", "a/b2/c/d/e/bar", "a/b/c2/d/e/baz", "a/b/c2/d/e2/baz", "a/x.txt",
		"l->a/b", "a/m->b")
	for _, c := range []struct {
		name, source string
		want, err    string
	}{
		{"a file", "a/b/c/d/foo", "a/ a/b/ a/b/c/ a/b/c/d/ a/b/c/d/foo", ""},
		{"a directory", "/a/b/c/", "a/ a/b/ a/b/c/ a/b/c/d/ a/b/c/d/e/ a/b/c/d/e/bay a/b/c/d/foo", ""},
		{"a pivot", "a/b/./c/d", "a/b/c/ a/b/c/d/ a/b/c/d/e/ a/b/c/d/e/bay a/b/c/d/foo", ""},
		{"two pivots", "a/./b2/./c", "a/b2/ a/b2/c/ a/b2/c/d/ a/b2/c/d/e/ a/b2/c/d/e/bar", ""},
		{"a pivot at the end is none", "a/x.txt/.", "a/ a/x.txt", ""},
		{"dot slash in front is none", "./a/x.txt", "a/ a/x.txt", ""},
		{"dot segments", "a/b/../x.txt", "a/ a/x.txt", ""},
		{"leading dot dot", "../a/x.txt", "a/ a/x.txt", ""},
		{"a wildcard after the pivot", "a/./*/c2",
			"a/b/ a/b/c2/ a/b/c2/d/ a/b/c2/d/e/ a/b/c2/d/e/baz a/b/c2/d/e2/ a/b/c2/d/e2/baz", ""},
		{"a wildcard before the pivot", "a/b*/./c/**/bar", "a/b2/c/ a/b2/c/d/ a/b2/c/d/e/ a/b2/c/d/e/bar", ""},
		{"any number of directories", "a/**/baz",
			"a/ a/b/ a/b/c2/ a/b/c2/d/ a/b/c2/d/e/ a/b/c2/d/e/baz a/b/c2/d/e2/ a/b/c2/d/e2/baz", ""},
		{"none too", "a/**/x.txt", "a/ a/x.txt", ""},
		{"a base that is a symlink", "l/./c/d/foo", "a/b/c/ a/b/c/d/ a/b/c/d/foo", ""},
		{"a symlink is taken as it is", "a/m", "a/ a/m", ""},
		{"all", "a/b2/./.", "a/b2/c/ a/b2/c/d/ a/b2/c/d/e/ a/b2/c/d/e/bar", ""},
		{"a pattern without match", "a/b3*/c", "", ""},
		{"a pattern without match after the pivot", "a/b/./c3*", "", ""},
		{"a file that a wildcard before the pivot matches", "a/x*/./y", "a/x.txt", ""},
		{"missing", "a/b/c/d/fooo", "", `"a/b/c/d/fooo" not found; did you mean "a/b/c/d/foo"?`},
		{"missing after the pivot", "a/./b3/c", "", `"a/./b3/c" not found`},
		{"a missing base", "z/./c", "", `"z" not found`},
		{"below a file", "f/x", "", `"f/x" not found`},
		{"through a symlink", "a/m/c", "",
			`source "a/m/c": --parents follows no symlink, and there is a/m -> b: name the directory itself`},
		{"outside", "../../zz", "", `"../../zz" is outside the build context: forbidden path`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := taken(t, root, Query{Patterns: []string{c.source}, Parents: true})
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("got error %v, want %q", err, c.err)
				}
				return
			}
			check(t, err)
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParentsWithExcludesAndAnIgnoreFile(t *testing.T) {
	root := tree(t, "a/b/f.go", "a/b/f.md", "a/v/f.go", "a/v/k/f.go", "c/f.go")
	got, err := taken(t, root, Query{
		Patterns: []string{"**/*.go"}, Excludes: []string{"c", "a/v/f.go"}, Parents: true, Filter: ignore(t, "a/v", "!a/v/k"),
	})
	check(t, err)
	if diff := cmp.Diff("a/ a/b/ a/b/f.go a/v/ a/v/k/ a/v/k/f.go", strings.Join(got, " ")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = taken(t, root, Query{Patterns: []string{"a/v/f.go"}, Parents: true, Filter: ignore(t, "a/v", "!a/v/k")})
	if err == nil || !strings.Contains(err.Error(), "excluded by .dockerignore:1: a/v") {
		t.Errorf("got error %v", err)
	}
}

func TestDigestLeavesOutWhatIsntTaken(t *testing.T) {
	for _, c := range []struct {
		name   string
		q      Query
		change string
		same   bool
	}{
		{"an excluded file", Query{Patterns: []string{"d"}, Excludes: []string{"**/*.md"}}, "d/s/x.md", true},
		{"a file beside it", Query{Patterns: []string{"d"}, Excludes: []string{"**/*.md"}}, "d/s/x.go", false},
		{"a file in an excluded directory", Query{Patterns: []string{"d"}, Excludes: []string{"s"}}, "d/s/x.go", true},
		{"an exception in it", Query{Patterns: []string{"d"}, Excludes: []string{"s", "!s/x.go"}}, "d/s/x.go", false},
		{"a file that is a source and excluded", Query{Patterns: []string{"*.md", "d/x.go"}, Excludes: []string{"*.md"}},
			"x.md", true},
		{"a file that --parents takes", Query{Patterns: []string{"d/s/*.go"}, Parents: true}, "d/s/x.go", false},
		{"a file beside that", Query{Patterns: []string{"d/s/*.go"}, Parents: true}, "d/s/x.md", true},
		{"a file on the way", Query{Patterns: []string{"d/s/*.go"}, Parents: true}, "d/x.go", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := tree(t, "d/s/x.md", "d/s/x.go", "d/x.go", "x.md")
			digests := func() [2]string {
				t.Helper()
				o := DigestOptions{Root: openRoot(t, root), Query: c.q}
				d, err := Digest(t.Context(), o)
				check(t, err)
				f, err := Fingerprint(t.Context(), o)
				check(t, err)
				return [2]string{d.String(), f.String()}
			}
			before := digests()
			check(t, os.WriteFile(root+"/"+c.change, []byte("changed"), 0o644))
			after := digests()
			if (before[0] == after[0]) != c.same {
				t.Errorf("digest: same is %v", !c.same)
			}
			if (before[1] == after[1]) != c.same {
				t.Errorf("fingerprint: same is %v", !c.same)
			}
		})
	}
}

func TestDigestCountsTheDirectoriesOfParents(t *testing.T) {
	root := tree(t, "a/f=F", "b/f=F", "c/a/f=F")
	of := func(source string) string {
		t.Helper()
		d, err := Digest(t.Context(),
			DigestOptions{Root: openRoot(t, root), Query: Query{Patterns: []string{source}, Parents: true}})
		check(t, err)
		return d.String()
	}
	first := of("a/f")
	if of("b/f") == first {
		t.Error("another path gives the same digest")
	}
	if of("c/./a/f") != first {
		t.Error("what comes before the pivot counts")
	}
	check(t, unix.Chmod(root+"/a", 0o700))
	if of("a/f") == first {
		t.Error("a mode on the way doesn't count")
	}
}

func TestPatternsThatMatchNothingAreReported(t *testing.T) {
	root := tree(t, "a.txt", "d/x.log")
	sel, err := Select(openRoot(t, root), Query{Patterns: []string{"*.go", "a.txt", "d/*.log"},
		Filter: ignore(t, "**/*.log")})
	check(t, err)
	defer func() { check(t, sel.Close()) }()
	var got []string
	for _, none := range sel.Missed {
		got = append(got, none.Error())
	}
	want := []string{`"*.go" matches no file`, `"d/*.log" is excluded by .dockerignore:1: **/*.log`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
