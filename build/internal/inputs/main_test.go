package inputs

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

const from = "FROM scratch\n"

func TestTheMainContextIsFoundWhereverItLies(t *testing.T) {
	t.Parallel()
	files := []string{"Dockerfile=" + from, "a=1"}
	dir := plant(t, t.TempDir(), files...)
	archive := filepath.Join(t.TempDir(), "ctx.tar")
	web := serve(t, map[string][]byte{"/ctx.tgz": zipped(t, tarOf(t, files)), "/Dockerfile": []byte(from)})
	plant(t, filepath.Dir(archive), "ctx.tar="+string(tarOf(t, files)))
	const all = "Dockerfile=FROM scratch a=1"
	for name, test := range map[string]struct {
		o          Options
		name, list string
		fleeting   bool
	}{
		"directory": {Options{Context: dir}, dir + "/Dockerfile", all, false},
		"archive":   {Options{Context: archive}, "Dockerfile", all, true},
		"archive on standard input": {Options{Context: Stdin, Stdin: bytes.NewReader(tarOf(t, files))}, "Dockerfile", all,
			true},
		"compressed archive on standard input": {
			Options{Context: Stdin, Stdin: bytes.NewReader(zipped(t, tarOf(t, files)))}, "Dockerfile", all, true},
		"archive of a URL": {Options{Context: web.URL + "/ctx.tgz"}, "Dockerfile", all, true},
		// A signed URL is longer than the name of a file can be.
		"archive of a long URL": {Options{Context: web.URL + "/ctx.tgz?sign=" + strings.Repeat("x", 5000)}, "Dockerfile", all,
			true},
		"git repository": {Options{Context: repository(t, files...)}, "Dockerfile", all, false},
		"subdirectory of a git repository": {
			Options{Context: repository(t, "sub/Dockerfile="+from, "b=2") + "#main:sub"}, "Dockerfile",
			"Dockerfile=FROM scratch", false},
		"Dockerfile on standard input": {Options{Context: Stdin, Stdin: strings.NewReader(from)}, "-", "", true},
		"Dockerfile of a URL":          {Options{Context: web.URL + "/Dockerfile"}, "-", "", true},
		"a URL beside a directory": {Options{Context: dir, Dockerfile: web.URL + "/Dockerfile"}, web.URL + "/Dockerfile",
			all, false},
		"standard input beside a directory": {Options{Context: dir, Dockerfile: Stdin, Stdin: strings.NewReader(from)}, "-",
			all, false},
		"standard input beside an archive": {Options{Context: archive, Dockerfile: Stdin, Stdin: strings.NewReader(from)},
			"-",
			all, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, test.o)
			f, err := c.ReadMain(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			main, err := c.Get(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if got := list(t, main); got != test.list || main.Fleeting != test.fleeting {
				t.Errorf("it holds %q, fleeting %v", got, main.Fleeting)
			}
			if f.Source.Name != test.name || string(f.Source.Text) != from || f.Parsed == nil || f.Ignore != nil {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestTheDateOfAContextIsThatOfItsContent(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_000_000_000, 0).UTC()
	files := []string{"Dockerfile=" + from, "sub/a=1"}
	dated := tarOf(t, []string{"Dockerfile=" + from}, tar.Header{Name: "newest", ModTime: at},
		tar.Header{Name: "older", ModTime: at.Add(-time.Hour)})
	web := serve(t, map[string][]byte{"/ctx.tgz": zipped(t, dated), "/Dockerfile": []byte(from)})
	server := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	before := time.Now().Add(-time.Hour)
	for name, test := range map[string]struct {
		o Options
		// want is the date; nil: the context has none.
		want *time.Time
	}{
		"directory":                    {Options{Context: plant(t, t.TempDir(), files...)}, nil},
		"Dockerfile on standard input": {Options{Context: Stdin, Stdin: strings.NewReader(from)}, nil},
		"archive":                      {Options{Context: Stdin, Stdin: bytes.NewReader(dated)}, &at},
		"archive of a URL":             {Options{Context: web.URL + "/ctx.tgz"}, &server},
		"Dockerfile of a URL":          {Options{Context: web.URL + "/Dockerfile"}, &server},
		"git repository":               {Options{Context: repository(t, files...)}, &before},
		"part of a git repository":     {Options{Context: repository(t, "sub/Dockerfile="+from) + "#main:sub"}, &before},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, test.o)
			if _, err := c.ReadMain(t.Context()); err != nil {
				t.Fatal(err)
			}
			got, err := c.Date(t.Context())
			switch {
			case err != nil || (got == nil) != (test.want == nil):
				t.Errorf("%v, %v", got, err)
			case test.want == &before && (got.Before(before) || got.After(time.Now()) || got.Nanosecond() > 0),
				test.want != nil && test.want != &before && !got.Equal(*test.want):
				t.Errorf("%v", got)
			}
		})
	}
}

// TestWhatCannotBeTheContextSaysWhy has each leave nothing behind, which newContexts looks for.
func TestWhatCannotBeTheContextSaysWhy(t *testing.T) {
	t.Parallel()
	text := filepath.Join(plant(t, t.TempDir(), "text=hello"), "text")
	good := tarOf(t, []string{"Dockerfile=" + from, "a=" + strings.Repeat("x", 4096)})
	web := serve(t, map[string][]byte{"/broken.tar": good[:3000], "/Dockerfile": []byte(from)})
	pipe := fifo(t)
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"nothing there": {Options{Context: "/nowhere/at/all"}, "stat /nowhere/at/all: no such file or directory"},
		"below a file":  {Options{Context: text + "/x"}, "stat " + text + "/x: not a directory"},
		"a text":        {Options{Context: text}, text + " is not a directory and not a tar archive\nhint: the context is"},
		"a named pipe":  {Options{Context: pipe}, pipe + " is not a directory and not a tar archive\nhint: "},
		"a device":      {Options{Context: "/dev/zero"}, "/dev/zero is not a directory and not a tar archive"},
		"no input":      {Options{Context: Stdin}, "standard input is empty\nhint: "},
		"standard input twice": {Options{Context: Stdin, Dockerfile: Stdin, Stdin: strings.NewReader(from)},
			"can't be the context and the Dockerfile at once\nhint: with -f -"},
		"two Dockerfiles": {Options{Context: Stdin, Dockerfile: "x", Stdin: strings.NewReader(from)},
			"standard input is a Dockerfile, and -f x names another one\nhint: leave one of them out"},
		"two Dockerfiles, one of a URL": {Options{Context: web.URL + "/Dockerfile", Dockerfile: "x"},
			web.URL + "/Dockerfile is a Dockerfile, and -f x names another one"},
		"an archive that is cut": {Options{Context: Stdin, Stdin: bytes.NewReader(good[:3000])},
			"unpack standard input: "},
		"an archive of a URL that is cut": {Options{Context: web.URL + "/broken.tar"}, "unpack " + web.URL + "/broken.tar: "},
		"a URL with nothing":              {Options{Context: web.URL + "/gone"}, "404"},
		"another scheme": {Options{Context: "ftp://me:secret@h/x"},
			"ftp://xxxxx:xxxxx@h/x: it is neither a directory nor a git repository"},
		"no URL":       {Options{Context: "http://h:port/%zz"}, "it is not a valid URL"},
		"a git option": {Options{Context: "ssh://-oProxyCommand=x/y"}, "open build context: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, shown := newContexts(t, test.o)
			_, err := c.ReadMain(t.Context())
			if err == nil || !strings.HasPrefix(err.Error(), "open build context: ") ||
				!strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if all := shown.text() + err.Error(); strings.Contains(all, "secret") {
				t.Errorf("a password is shown: %s", all)
			}
		})
	}
}

func TestDevicesOfAnArchiveAreLeftOutAndTold(t *testing.T) {
	t.Parallel()
	archive := tarOf(t, []string{"Dockerfile=" + from}, tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1,
		Devminor: 3})
	c, shown := newContexts(t, Options{Context: Stdin, Stdin: bytes.NewReader(archive)})
	if _, err := c.ReadMain(t.Context()); err != nil {
		t.Fatal(err)
	}
	main, err := c.Get(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := list(t, main); got != "Dockerfile=FROM scratch" ||
		!strings.Contains(shown.text(), "1 device nodes of the context are left out") {
		t.Errorf("it holds %q; shown:\n%s", got, shown.text())
	}
	if !strings.Contains(shown.text(), "unpacking standard input") {
		t.Errorf("the unpacking is not shown:\n%s", shown.text())
	}
}

func TestTheGitDirectoryIsKeptIfAnArgumentSaysSo(t *testing.T) {
	t.Parallel()
	url := repository(t, "Dockerfile="+from)
	text := func(s string) *string { return &s }
	for name, test := range map[string]struct {
		arg  *string
		want string
	}{
		"without a value": {nil, "Dockerfile=FROM scratch"},
		"1":               {text("1"), ".git Dockerfile=FROM scratch"},
		"false":           {text("false"), "Dockerfile=FROM scratch"},
		"no truth value":  {text("perhaps"), "Dockerfile=FROM scratch"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, _ := newContexts(t, Options{Context: url, BuildArgs: map[string]*string{keepGitArg: test.arg}})
			if _, err := c.ReadMain(t.Context()); err != nil {
				t.Fatal(err)
			}
			main, err := c.Get(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			if got := list(t, main); got != test.want {
				t.Errorf("it holds %q", got)
			}
		})
	}
}

// TestWithoutAStoreNothingIsKept is what a check sees.
func TestWithoutAStoreNothingIsKept(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "Dockerfile="+from, ".dockerignore=x\n")
	archive := tarOf(t, []string{"Dockerfile=" + from})
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"directory":  {Options{Context: dir}, ""},
		"Dockerfile": {Options{Context: Stdin, Stdin: strings.NewReader(from)}, ""},
		"archive": {Options{Context: Stdin, Stdin: bytes.NewReader(archive)},
			"standard input must be unpacked into the store, which a check doesn't open\nhint: --pull opens it"},
		"URL": {Options{Context: "http://127.0.0.1:1/x"}, "which a check doesn't open\nhint: --pull opens it"},
		"git": {Options{Context: "http://127.0.0.1:1/x.git"}, "which a check doesn't open\nhint: --pull opens it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := New(test.o, nil)
			f, err := c.ReadMain(t.Context())
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v", err)
				}
			} else if err != nil || f.Parsed == nil {
				t.Errorf("got %+v, %v", f, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAFaultyDockerfileComesWithItsWarnings(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "Dockerfile=FROM scratch AS One\nCOPY --nothing . .\n")
	c, shown := newContexts(t, Options{Context: dir})
	f, err := c.ReadMain(t.Context())
	placed := new(dockerfile.Error)
	if !errors.As(err, &placed) || !strings.HasPrefix(err.Error(), dir+"/Dockerfile:2: ") {
		t.Fatalf("got %v", err)
	}
	if len(f.Source.Text) == 0 || f.Parsed == nil {
		t.Errorf("the file is not given as far as it goes: %+v", f)
	}
	File{}.Warn(shown)
	if got := shown.text(); got != "" {
		t.Errorf("a file that was not read has warnings: %s", got)
	}
	f.Warn(shown)
	if got := shown.text(); !strings.HasPrefix(got, dir+"/Dockerfile:1: StageNameCasing: ") {
		t.Errorf("shown: %s", got)
	}
}

func TestClosedContextsHaveNothingOpen(t *testing.T) {
	t.Parallel()
	c, _ := newContexts(t, Options{Context: Stdin, Stdin: strings.NewReader(from)})
	if _, err := c.ReadMain(t.Context()); err != nil {
		t.Fatal(err)
	}
	main, err := c.Get(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	path := main.Dir.Root().Name()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the unpacked context: %v", err)
	}
	if _, err := main.Dir.Root().Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("its directory is open: %v", err)
	}
}
