package source

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

func TestIgnoreRules(t *testing.T) {
	for _, c := range []struct {
		name             string
		lines            []string
		hidden, visible  []string
		descend, noEntry []string
	}{
		{name: "nothing", visible: []string{"a", "a/b"}},
		{name: "a name", lines: []string{"a"}, hidden: []string{"a", "a/b", "a/b/c"}, visible: []string{"b", "b/a", "ab"}},
		{name: "a leading slash means nothing", lines: []string{"/a"}, hidden: []string{"a"}, visible: []string{"b/a"}},
		{name: "a trailing slash neither", lines: []string{"a/"}, hidden: []string{"a", "a/b"}},
		{name: "a star stays in its component", lines: []string{"*.log"}, hidden: []string{"x.log"},
			visible: []string{"d/x.log", "x.txt"}},
		{name: "two stars don't", lines: []string{"**/*.log"}, hidden: []string{"x.log", "d/x.log", "d/e/x.log"},
			visible: []string{"d/x.txt"}},
		{name: "two stars at the end", lines: []string{"d/**"}, hidden: []string{"d/a", "d/a/b"},
			visible: []string{"d", "e"}},
		{name: "a question mark", lines: []string{"a?"}, hidden: []string{"ab"}, visible: []string{"a", "abc"}},
		{name: "a class", lines: []string{"[ab]c"}, hidden: []string{"ac", "bc"}, visible: []string{"cc"}},
		{name: "an escape", lines: []string{`\*`}, hidden: []string{"*"}, visible: []string{"a"}},
		{name: "comments and blanks", lines: []string{"# a", "", "  b  ", " # c"}, hidden: []string{"b", "# c"},
			visible: []string{"a", "c"}},
		{
			name: "an exception", lines: []string{"*.md", "!README.md"},
			hidden: []string{"a.md"}, visible: []string{"README.md"},
		},
		{
			name: "the last one decides", lines: []string{"*.md", "!README*.md", "README-secret.md"},
			hidden: []string{"README-secret.md"}, visible: []string{"README.md"},
		},
		{
			name: "an exception below an excluded directory", lines: []string{"d", "!d/e/f"},
			hidden: []string{"d", "d/x", "d/e", "d/e/g"}, visible: []string{"d/e/f"}, descend: []string{"d", "d/e"},
			noEntry: []string{"d/x"},
		},
		{
			name: "all but one", lines: []string{"*", "!src"}, hidden: []string{"a", "b/c"}, visible: []string{"src", "src/a/b"},
			noEntry: []string{"b"},
		},
		{
			name: "all but one kind", lines: []string{"**", "!**/*.go"}, hidden: []string{"a", "b/c"},
			visible: []string{"x.go", "b/x.go"},
			descend: []string{"b", "b/c"},
		},
		{
			name: "what comes after an exception overrules it", lines: []string{"!**/keep", "node_modules"},
			hidden: []string{"node_modules/keep"}, noEntry: []string{"node_modules"},
		},
		{name: "one level down", lines: []string{"*/temp*"}, hidden: []string{"d/temp", "d/temporary.txt", "d/temp/x"},
			visible: []string{"temp", "d/e/temp"}},
		{name: "two levels down", lines: []string{"*/*/temp*"}, hidden: []string{"d/e/temp0"},
			visible: []string{"d/temp", "d/e/f/temp"}},
		{name: "the dot says nothing", lines: []string{"."}, visible: []string{"a", "a/b", ".x"}},
		{name: "a dot before the name", lines: []string{"./a"}, hidden: []string{"a"}, visible: []string{"b/a"}},
		{name: "dots in the middle", lines: []string{"a/../b"}, hidden: []string{"b"}, visible: []string{"a"}},
		{name: "two stars in the middle", lines: []string{"a/**/z"}, hidden: []string{"a/z", "a/b/z", "a/b/c/z"},
			visible: []string{"a/b", "z", "b/a/z"}},
		{name: "two stars on both sides", lines: []string{"**/a/**"}, hidden: []string{"a/x", "b/a/x"},
			visible: []string{"a", "b/a", "ab/x"}},
		{name: "two stars before a name", lines: []string{"**/a"}, hidden: []string{"a", "b/a", "b/c/a/d"},
			visible: []string{"ba"}},
		{name: "a space inside a name", lines: []string{"a b "}, hidden: []string{"a b"}, visible: []string{"a", "b"}},
		{name: "an exception for all, then a name", lines: []string{"*", "!**", "a"}, hidden: []string{"a"},
			visible: []string{"b", "b/c"}},
		{name: "an escaped bang and hash", lines: []string{`\!a`, `\#b`}, hidden: []string{"!a", "#b"},
			visible: []string{"a", "b"}},
		{name: "the Dockerfile and the ignore file", lines: []string{"Dockerfile", ".dockerignore"},
			hidden: []string{"Dockerfile", ".dockerignore"}},
		{name: "byte order mark", lines: []string{"\xef\xbb\xbfa"}, hidden: []string{"a"}},
		{name: "windows line ends", lines: []string{"a\r", "!a/b\r"}, hidden: []string{"a"}, visible: []string{"a/b"}},
		{name: "an exception with a bang in its name", lines: []string{"*", "!!a"}, hidden: []string{"a", "b"},
			visible: []string{"!a"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ig := ignore(t, c.lines...)
			for _, p := range c.hidden {
				if excluded, _ := ig.Excluded(p, true); !excluded {
					t.Errorf("%q is visible", p)
				}
			}
			for _, p := range c.visible {
				if excluded, descend := ig.Excluded(p, true); excluded || !descend {
					t.Errorf("%q is hidden", p)
				}
			}
			for _, p := range c.descend {
				if excluded, descend := ig.Excluded(p, true); !excluded || !descend {
					t.Errorf("%q: excluded %v, descend %v", p, excluded, descend)
				}
			}
			for _, p := range c.noEntry {
				if excluded, descend := ig.Excluded(p, true); !excluded || descend {
					t.Errorf("%q: excluded %v, descend %v", p, excluded, descend)
				}
			}
		})
	}
}

func TestIgnoreNamesTheLine(t *testing.T) {
	ig := ignore(t, "# comment", "*.log", "!a.log", "d")
	for p, want := range map[string]string{"x.log": ".dockerignore:2: *.log", "d/e": ".dockerignore:4: d", "a.log": ""} {
		if got := ig.explain(p); got != want {
			t.Errorf("%q: got %q, want %q", p, got, want)
		}
	}
}

func TestBadIgnoreFiles(t *testing.T) {
	for _, text := range []string{"a\n[", "!", "a\n\n!  ", strings.Repeat("x", maxIgnoreFile+1), `a\`} {
		if _, err := ParseIgnore("f", strings.NewReader(text)); err == nil {
			t.Errorf("%.20q: no error", text)
		}
	}
	if _, err := ParseIgnore("f", strings.NewReader("a\n[")); err == nil || !strings.HasPrefix(err.Error(), "f:2: ") {
		t.Errorf("got %v", err)
	}
}

func TestFindIgnore(t *testing.T) {
	context, other := tree(t, "Dockerfile", ".dockerignore=docker"), tree(t, "sub/My.Dockerfile")
	find := func() string {
		ig, err := FindIgnore(filepath.Join(other, "sub/My.Dockerfile"), context)
		check(t, err)
		if len(ig.patterns) == 0 {
			return ""
		}
		return ig.patterns[0].text
	}
	if got := find(); got != "docker" {
		t.Errorf("got %q", got)
	}
	plant(t, context, ".containerignore=container")
	if got := find(); got != "container" {
		t.Errorf("got %q", got)
	}
	plant(t, other, "sub/My.Dockerfile.containerignore=podmans")
	if got := find(); got != "podmans" {
		t.Errorf("got %q", got)
	}
	plant(t, other, "sub/My.Dockerfile.dockerignore=own")
	if got := find(); got != "own" {
		t.Errorf("got %q", got)
	}
	if ig, err := FindIgnore("", t.TempDir()); ig != nil || err != nil {
		t.Errorf("got %v, %v", ig, err)
	}
	hostile := tree(t, ".dockerignore->/etc/passwd")
	if ig, err := FindIgnore("", hostile); ig != nil || err != nil {
		t.Errorf("a link out was followed: %v, %v", ig, err)
	}
	check(t, os.Remove(hostile+"/.dockerignore"))
	plant(t, hostile, ".dockerignore/")
	if _, err := FindIgnore("", hostile); err == nil {
		t.Error("a directory is taken for an ignore file")
	}
}

func TestFindIgnoreInsideAContext(t *testing.T) {
	outside := tree(t, "Dockerfile", "Dockerfile.dockerignore=outside")
	context := tree(t, ".dockerignore=context", "sub/Dockerfile", "way->sub", "out->"+outside)
	root, err := os.Open(context)
	check(t, err)
	defer func() { _ = root.Close() }()
	find := func(dockerfile string) string {
		ig, err := FindIgnoreIn(root, dockerfile)
		check(t, err)
		if ig == nil || len(ig.patterns) == 0 {
			return ""
		}
		return ig.patterns[0].text
	}
	for _, dockerfile := range []string{"", "sub/Dockerfile", "way/Dockerfile", "out/Dockerfile", "../sub/Dockerfile"} {
		if got := find(dockerfile); got != "context" {
			t.Errorf("%q: got %q", dockerfile, got)
		}
	}
	plant(t, context, "sub/Dockerfile.containerignore=own")
	for _, dockerfile := range []string{"sub/Dockerfile", "way/Dockerfile", "../sub/Dockerfile"} {
		if got := find(dockerfile); got != "own" {
			t.Errorf("%q: got %q", dockerfile, got)
		}
	}
	// An empty file of the Dockerfile's own says that nothing is hidden.
	plant(t, context, "sub/Dockerfile.dockerignore=")
	if got := find("sub/Dockerfile"); got != "" {
		t.Errorf("got %q", got)
	}
}

// FuzzIgnore holds the matcher against the library's, which knows no short cuts.
func FuzzIgnore(f *testing.F) {
	f.Add("*.log\n!keep.log\n**/tmp\n!a/b\n", "a/b/keep.log")
	f.Add("a\n!a/b\na/b/c\n[^x]y\n", "a/b/c")
	f.Add("**\n!**/*.go", "x/y.go")
	f.Add("a[^b]c", "a/c")
	f.Add("!x\nx/**/z\n\\!q", "x/y/z")
	f.Add("?", "00")
	f.Add("x\n!|/*", "x")
	f.Add("*\n!0/*|o", "1/o")
	f.Add("*\n!\x80/* ", "\x91/0")
	f.Fuzz(func(t *testing.T, text, path string) {
		path = strings.Trim(filepath.Clean("/"+path), "/")
		ig, err := ParseIgnore("f", strings.NewReader(text))
		if err != nil || path == "" || len(ig.patterns) == 0 {
			return
		}
		lines, err := ignorefile.ReadAll(strings.NewReader(text))
		check(t, err)
		for _, line := range lines {
			if strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(line, "!")), "!") {
				// The library strips a second "!" from an exception; we take it for the name it is.
				return
			}
		}
		library, err := patternmatcher.New(lines)
		if err != nil {
			return
		}
		want, err := parentResults(library, path)
		if err != nil {
			return
		}
		if got, _ := ig.Excluded(path, true); got != want {
			t.Fatalf("%q in %q: got %v, the library says %v", path, text, got, want)
		}
		for at := range path {
			if path[at] != '/' {
				continue
			}
			if excluded, below := ig.Excluded(path[:at], true); excluded && !below && !want {
				t.Fatalf("%q in %q is visible, but %q isn't entered", path, text, path[:at])
			}
		}
	})
}

// parentResults asks the library about each parent in turn, as a walk does.
func parentResults(m *patternmatcher.PatternMatcher, path string) (bool, error) {
	var info patternmatcher.MatchInfo
	var excluded bool
	for at := 0; at <= len(path); at++ {
		if at < len(path) && path[at] != '/' {
			continue
		}
		var err error
		if excluded, info, err = m.MatchesUsingParentResults(path[:at], info); err != nil {
			return false, err
		}
	}
	return excluded, nil
}

func TestSourcesThatAreHiddenForCertain(t *testing.T) {
	tests := []struct {
		patterns, source string
		want             bool
	}{
		{"hidden", "hidden", true},
		{"hidden", "./hidden/", true},
		{"hidden", "hidden/below", true},
		{"hidden", "a/hidden", false},
		{"**/hidden", "a/hidden", true},
		{"a/*.txt", "a/x.txt", true},
		{"a/*.txt", "a", false},
		{"hidden\n!hidden/but", "hidden", false},
		{"*", ".", true},
		{"**", "/", true},
		{".*", ".", false},
		{"a", ".", false},
		{"hidden", "/hidden", false}, // as with BuildKit
		{"# nothing", "a", false},
	}
	for _, tt := range tests {
		ig, err := ParseIgnore("x", strings.NewReader(tt.patterns))
		if err != nil {
			t.Fatal(err)
		}
		if got := ig.HidesSource(tt.source); got != tt.want {
			t.Errorf("%q hides %q: %v", tt.patterns, tt.source, got)
		}
	}
	if (*Ignore)(nil).HidesSource("a") {
		t.Error("no file hides something")
	}
}
