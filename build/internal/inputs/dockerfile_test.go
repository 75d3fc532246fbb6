package inputs

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheDockerfileIsFoundWhereItIsLookedFor(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "Dockerfile="+from+"# D", "Containerfile="+from+"# C", "sub/other="+from+"# O")
	only := plant(t, t.TempDir(), "Dockerfile="+from+"# only")
	elsewhere := filepath.Join(plant(t, t.TempDir(), "file="+from+"# E"), "file")
	archive := func() *bytes.Reader {
		return bytes.NewReader(tarOf(t, []string{"Dockerfile=" + from + "# D", "Containerfile=" + from + "# C",
			"sub/other=" + from + "# O", "link->/sub/other", "up->../../../sub/other"}))
	}
	for name, test := range map[string]struct {
		o          Options
		name, mark string
	}{
		"Containerfile first":      {Options{Context: dir}, dir + "/Containerfile", "C"},
		"Dockerfile alone":         {Options{Context: only}, only + "/Dockerfile", "only"},
		"below the context":        {Options{Context: dir, Dockerfile: "sub/other"}, dir + "/sub/other", "O"},
		"elsewhere":                {Options{Context: dir, Dockerfile: elsewhere}, elsewhere, "E"},
		"first in an archive":      {Options{Context: Stdin, Stdin: archive()}, "Containerfile", "C"},
		"named in an archive":      {Options{Context: Stdin, Stdin: archive(), Dockerfile: "sub/other"}, "sub/other", "O"},
		"a link in an archive":     {Options{Context: Stdin, Stdin: archive(), Dockerfile: "link"}, "link", "O"},
		"no way out of an archive": {Options{Context: Stdin, Stdin: archive(), Dockerfile: "up"}, "up", "O"},
		"beside an archive":        {Options{Context: Stdin, Stdin: archive(), Dockerfile: elsewhere}, elsewhere, "E"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, test.o)
			f, err := c.ReadMain(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, mark, _ := strings.Cut(string(f.Source.Text), "# "); mark != test.mark || f.Source.Name != test.name {
				t.Errorf("%s is %s", f.Source.Name, mark)
			}
		})
	}
}

func TestADockerfileThatCannotBeReadSaysWhy(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "Dockerfile="+from, "bad=FROM", "large="+strings.Repeat("#", maxDockerfile+1))
	empty, pipe := t.TempDir(), fifo(t)
	inside := func(name string, files ...string) Options {
		more := tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600}
		return Options{Context: Stdin, Stdin: bytes.NewReader(tarOf(t, append(files, "a=1"), more)), Dockerfile: name}
	}
	web := serve(t, map[string][]byte{"/large": []byte(strings.Repeat("#", maxDockerfile+1))})
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"none": {Options{Context: empty},
			"find Dockerfile: " + empty + " has neither Containerfile nor Dockerfile\nhint: name it with -f FILE"},
		"not there": {Options{Context: dir, Dockerfile: "nothing"},
			"read Dockerfile: open nothing: no such file or directory"},
		"a directory": {Options{Context: dir, Dockerfile: dir},
			"read Dockerfile: " + dir + " is a directory\nhint: -f names the file, the last argument the context directory"},
		"a named pipe": {Options{Context: dir, Dockerfile: pipe},
			"read Dockerfile: " + pipe + " is a named pipe\nhint: -f - reads the Dockerfile from standard input"},
		"too large": {Options{Context: dir, Dockerfile: dir + "/large"}, "read Dockerfile: " + dir +
			"/large is larger than 16 MiB"},
		"no end": {Options{Context: dir, Dockerfile: "/dev/zero"}, "read Dockerfile: /dev/zero is larger than 16 MiB"},
		"too large on standard input": {Options{Context: dir, Dockerfile: Stdin,
			Stdin: strings.NewReader(strings.Repeat("#", maxDockerfile+1))}, "standard input is larger than 16 MiB"},
		"too large at a URL": {Options{Context: dir, Dockerfile: web.URL + "/large"}, "is larger than 16 MiB"},
		"not at the URL":     {Options{Context: dir, Dockerfile: web.URL + "/nothing"}, "read Dockerfile: "},
		"wrong":              {Options{Context: dir, Dockerfile: "bad"}, dir + "/bad:1: "},
		"none in an archive": {inside(""), "find Dockerfile: standard input has neither Containerfile nor Dockerfile"},
		"not in an archive": {inside("nothing"),
			"read Dockerfile: standard input has no nothing\nhint: -f is a path inside that context"},
		"a link out of an archive": {inside("link", "link->"+dir+"/Dockerfile"), "standard input has no link"},
		"a link in circles": {inside("l", "l->l"),
			"read Dockerfile in standard input: open /l: /l: too many levels of symbolic links"},
		"a directory of an archive": {inside("d", "d/f=1"),
			"read Dockerfile in standard input: open /d: is a directory"},
		"a pipe of an archive": {inside("fifo"), "read Dockerfile in standard input: open /fifo: not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, test.o)
			if _, err := c.ReadMain(t.Context()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

func TestTheIgnoreFileIsTheOneThatBelongsToTheDockerfile(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "Dockerfile="+from, "other="+from, "other.dockerignore=b\n", ".dockerignore=a\n", "a=1",
		"b=1",
		"c=1", "mine=c\n", "broken=ok\n[\n")
	elsewhere := plant(t, t.TempDir(), "file="+from, "file.dockerignore=c\n")
	archive := func(more ...string) *bytes.Reader {
		return bytes.NewReader(tarOf(t, append([]string{"Dockerfile=" + from, "a=1", "b=1", "c=1", "other=" + from},
			more...)))
	}
	for name, test := range map[string]struct {
		o            Options
		hidden, want string
	}{
		"of the context":    {Options{Context: dir}, "a", ""},
		"beside":            {Options{Context: dir, Dockerfile: "other"}, "b", ""},
		"beside, elsewhere": {Options{Context: dir, Dockerfile: elsewhere + "/file"}, "c", ""},
		"named":             {Options{Context: dir, IgnoreFile: dir + "/mine"}, "c", ""},
		"Dockerfile on standard input": {Options{Context: dir, Dockerfile: Stdin, Stdin: strings.NewReader(from)},
			"a", ""},
		"of an archive": {Options{Context: Stdin, Stdin: archive(".dockerignore=a\n")}, "a", ""},
		"beside, in an archive": {Options{Context: Stdin, Dockerfile: "other",
			Stdin: archive("other.dockerignore=b\n", ".dockerignore=a\n")}, "b", ""},
		"elsewhere, beside an archive": {Options{Context: Stdin, Dockerfile: elsewhere + "/file",
			Stdin: archive(".dockerignore=a\n")}, "c", ""},
		"a link out of an archive": {Options{Context: Stdin, Stdin: archive(".dockerignore->" + dir + "/mine")}, "", ""},
		"not there": {Options{Context: dir, IgnoreFile: dir + "/nothing"}, "", "read ignore file: open " +
			dir + "/nothing: no such"},
		"a directory": {Options{Context: dir, IgnoreFile: dir}, "",
			"read ignore file: " + dir + " is a directory\nhint: --ignorefile names the file"},
		"a named pipe": {Options{Context: dir, IgnoreFile: fifo(t)}, "", " is a named pipe\nhint: --ignorefile takes a file"},
		"wrong":        {Options{Context: dir, IgnoreFile: dir + "/broken"}, "", dir + "/broken:2: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, test.o)
			f, err := c.ReadMain(t.Context())
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			main, err := c.Get(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if main.Dir.Ignore() != f.Ignore {
				t.Error("the context has another ignore file")
			}
			var hidden string
			for _, name := range []string{"a", "b", "c"} {
				if f.Ignore != nil && f.Ignore.HidesSource(name) {
					hidden += name
				}
			}
			if hidden != test.hidden {
				t.Errorf("it hides %q", hidden)
			}
		})
	}
}

// shellPipe is what <(command) gives: the path of a pipe, and its end to write to.
func shellPipe(t *testing.T) (path string, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = r.Close(), w.Close() })
	return fmt.Sprintf("/dev/fd/%d", r.Fd()), w
}

func TestPipesOfTheShellAreRead(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "a=1")
	file, toFile := shellPipe(t)
	ignore, toIgnore := shellPipe(t)
	go func() {
		_, _ = toFile.WriteString(from)
		_ = toFile.Close()
		_, _ = toIgnore.WriteString("a\n")
		_ = toIgnore.Close()
	}()
	c, _ := newContexts(t, Options{Context: dir, Dockerfile: file, IgnoreFile: ignore})
	f, err := c.ReadMain(t.Context())
	if err != nil || string(f.Source.Text) != from || f.Ignore == nil || f.Source.Name != file {
		t.Errorf("got %+v, %v", f, err)
	}
}

// TestWhatNeverComesCanBeInterrupted has nobody write to what is read: a pipe of the shell's or standard input.
func TestWhatNeverComesCanBeInterrupted(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "Dockerfile="+from)
	stopped := errors.New("stopped by the user")
	file, _ := shellPipe(t)
	ignore, _ := shellPipe(t)
	in, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	defer in.Close()
	for name, o := range map[string]Options{
		"Dockerfile":             {Context: dir, Dockerfile: file},
		"ignore file":            {Context: dir, IgnoreFile: ignore},
		"Dockerfile of an input": {Context: dir, Dockerfile: Stdin, Stdin: in},
		"context of an input":    {Context: Stdin, Stdin: in},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := newContexts(t, o)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(20*time.Millisecond, func() { cancel(stopped) }) // long enough for most to be waiting then
			if _, err := c.ReadMain(ctx); !errors.Is(err, stopped) {
				t.Errorf("got %v", err)
			}
		})
	}
}
