package inputs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIncludedFilesLieInTheContextOrBesideTheDockerfile(t *testing.T) {
	t.Parallel()
	const own = "# syntax=cooper/dockerfile:1\n"
	secret := filepath.Join(plant(t, t.TempDir(), "secret=RUN hostile"), "secret")
	files := []string{"a=RUN a", "sub/b=RUN b\nINCLUDE ../a", "sub/up=" + own + from + "INCLUDE b\nINCLUDE /a\n",
		"out=" + own + from + "INCLUDE ../secret\n",
		"none=" + own + from + "INCLUDE sub/c\n", "dir=" + own + from + "INCLUDE sub\n"}
	dir := plant(t, t.TempDir(), append(files, "Dockerfile="+own+from+"INCLUDE sub/b\n",
		"linked="+own+from+"INCLUDE link\n", "odd="+own+from+"INCLUDE pipe\n")...)
	if err := os.Symlink(secret, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(fifo(t), filepath.Join(dir, "pipe")); err != nil {
		t.Fatal(err)
	}
	apart := plant(t, t.TempDir(), "Dockerfile="+own+from+"INCLUDE beside\n", "beside=RUN beside",
		"out="+own+from+"INCLUDE ../out\n")
	packed := func() *bytes.Reader {
		return bytes.NewReader(tarOf(t, append(files, "Dockerfile="+own+from+"INCLUDE sub/b\n")))
	}
	for name, test := range map[string]struct {
		o    Options
		want string // of the lines, or of the error
	}{
		"context":             {Options{Context: dir}, "INCLUDE sub/b|RUN b|INCLUDE ../a|RUN a"},
		"above, and absolute": {Options{Context: dir, Dockerfile: "sub/up"}, "INCLUDE /a|RUN b|INCLUDE ../a|RUN a|RUN a"},
		"archive":             {Options{Context: Stdin, Stdin: packed()}, "INCLUDE sub/b|RUN b|INCLUDE ../a|RUN a"},
		"beside":              {Options{Context: dir, Dockerfile: apart + "/Dockerfile"}, "INCLUDE beside|RUN beside"},
		"standard input": {Options{Context: dir, Dockerfile: Stdin, Stdin: strings.NewReader(own + from + "INCLUDE a\n")},
			"INCLUDE a|RUN a"},
		"out of the context": {Options{Context: dir, Dockerfile: "out"}, "out:3: INCLUDE ../secret: it leads out of"},
		"out of an archive": {Options{Context: Stdin, Stdin: packed(), Dockerfile: "out"},
			"out:3: INCLUDE ../secret: it leads out of"},
		"out of its place": {Options{Context: dir, Dockerfile: apart + "/out"}, "out:3: INCLUDE ../out: it leads out of"},
		"by a link":        {Options{Context: dir, Dockerfile: "linked"}, "linked:3: INCLUDE link: "},
		"nothing":          {Options{Context: dir, Dockerfile: "none"}, "none:3: INCLUDE sub/c: there is no file sub/c"},
		"a directory":      {Options{Context: dir, Dockerfile: "dir"}, "dir:3: INCLUDE sub: "},
		"a pipe":           {Options{Context: dir, Dockerfile: "odd"}, "odd:3: INCLUDE pipe: "},
		"no directory": {Options{Context: Stdin, Stdin: strings.NewReader(own + from + "INCLUDE a\n")},
			"INCLUDE a: there is no"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, test.o)
			f, err := c.ReadMain(t.Context())
			got := fmt.Sprint(err)
			if err == nil {
				got = strings.Join(f.Parsed.Lines[2:], "|")
			}
			if !strings.Contains(got, test.want) || strings.Contains(got, "hostile") {
				t.Errorf("%s, not %s", got, test.want)
			}
		})
	}
}
