package inputs

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestFilesWhoseNameEndsInInArePreprocessed(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("cpp"); err != nil {
		t.Fatal("the tests need cpp: apt-get install cpp")
	}
	elsewhere := plant(t, t.TempDir(), "part=ENV ELSEWHERE=1\n")
	dir := plant(t, t.TempDir(),
		"c.in=#include \"base\"\n# don't\n#ifdef X\nENV X=X\n#endif\nCOPY <<EOF /f\n#ifndef X\nno\n#endif\nEOF\n",
		"base="+from, "out.in=#include \"/etc/passwd\"\n"+from, "link.in=#include \"there\"\n"+from,
		"zero.in=#include \"/dev/zero\"\n"+from, "lacks.in="+from+"#include \"none\"\n", "error.in=#error stop\n"+from,
		"flag.in="+from+"#include <part>\n", "plain="+from+"#ifdef X\n#endif\n")
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "there")); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		file       string
		flags      []string
		want, fail string
	}{
		"without a macro":      {"c.in", nil, from + "\n\n\n\n\nCOPY <<EOF /f\n\nno\n\nEOF\n", ""},
		"with a macro":         {"c.in", []string{"-DX=1"}, from + "\n\n\nENV 1=1\n\nCOPY <<EOF /f\n\n\n\nEOF\n", ""},
		"another name":         {"plain", nil, from + "#ifdef X\n#endif\n", ""},
		"an allowed directory": {"flag.in", []string{"-I" + elsewhere}, from + "ENV ELSEWHERE=1\n\n", ""},
		"out of the context":   {"out.in", nil, "", "it includes /etc/passwd, which is neither in the context nor beside it"},
		"by a link":            {"link.in", nil, "", "there, which is neither"},
		"without an end":       {"zero.in", nil, "", "out of memory"},
		"a file that lacks":    {"lacks.in", nil, "", "none: No such file"},
		"an error":             {"error.in", nil, from, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, Options{Context: dir, Dockerfile: filepath.Join(dir, test.file), Preprocess: true,
				PreprocessorFlags: test.flags})
			f, err := c.ReadMain(t.Context())
			if test.fail != "" {
				if err == nil || !strings.Contains(err.Error(), test.fail) ||
					!strings.HasPrefix(err.Error(), "preprocess "+dir) {
					t.Errorf("got %v", err)
				}
				return
			}
			if got := squeezed(string(f.Source.Text)); err != nil || got != squeezed(test.want) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// squeezed is a text without empty lines, of which preprocessors leave more or less.
func squeezed(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }), "\n")
}

func TestAContextFromElsewhereIsNotPreprocessed(t *testing.T) {
	t.Parallel()
	archive := filepath.Join(t.TempDir(), "ctx.tar")
	if err := os.WriteFile(archive, tarOf(t, []string{"c.in=" + from}), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _ := newContexts(t, Options{Context: archive, Dockerfile: "c.in", Preprocess: true})
	if _, err := c.ReadMain(t.Context()); err == nil || !strings.Contains(err.Error(), "hint: fetch the context first") {
		t.Errorf("got %v", err)
	}
}
