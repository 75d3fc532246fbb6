package source

import (
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
)

func TestPatternsThatWouldTakeTooLongAreRefused(t *testing.T) {
	long, wild := "can't be longer than a path, which is 4096 bytes", "can't have more than 100 wildcards"
	for text, want := range map[string]string{
		strings.Repeat("a", 5000):         long,
		strings.Repeat("a", 100_000):      long,
		strings.Repeat("*a", 101):         wild,
		strings.Repeat("a?", 101):         wild,
		strings.Repeat("[ab]", 101):       wild,
		strings.Repeat("**/a/", 51):       wild,
		strings.Repeat("a/", 1000) + "a":  "",
		strings.Repeat("**/a/", 30) + "x": "",
		strings.Repeat("**/", 1000) + "x": "",
		strings.Repeat("*", 4000) + "x":   "",
		strings.Repeat(" ", 2000) + "x":   "",
	} {
		_, err := ParseIgnore(".dockerignore", strings.NewReader("# comment\n"+text+"\n"))
		switch {
		case want == "" && err != nil:
			t.Errorf("%.40q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), ".dockerignore:2: ")):
			t.Errorf("%.40q: %v, want %q", text, err, want)
		case err != nil && len(err.Error()) > 300:
			t.Errorf("%.40q: the error has %d bytes", text, len(err.Error()))
		}
		if _, err := newExcludes([]string{text}); (err == nil) != (want == "") {
			t.Errorf("--exclude=%.40s: %v", text, err)
		}
	}
}

func TestManyStarsMeanWhatTwoMean(t *testing.T) {
	for _, pattern := range []string{"**/**/**/x", "**/**/**/**/x", "a/**/**/**/x", "******x", "*****", "a/******",
		"**/**/**", "a**/**/**b", "***", "a/***/b"} {
		for _, path := range []string{"x", "a", "a/x", "a/b", "a/c/d/x", "b/a/x", "ab", "a/c/b", "b", "xx", "a/b/c/d/e"} {
			library, err := patternmatcher.New([]string{pattern})
			if err != nil {
				t.Fatal(err)
			}
			want, err := parentResults(library, path)
			if err != nil {
				t.Fatal(err)
			}
			ig, err := ParseIgnore("x", strings.NewReader(pattern))
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := ig.Excluded(path, true); got != want {
				t.Errorf("%q hides %q: %v, with the library %v", pattern, path, got, want)
			}
		}
	}
}
