package plan_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// FuzzPlan parses and plans any text: no panic, no hang, only *dockerfile.Error, and graphs that hold together.
func FuzzPlan(f *testing.F) {
	for _, pattern := range []string{"testdata/golden/*.Dockerfile", "testdata/errors/*.Dockerfile"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, name := range files {
			if strings.Contains(name, "bomb") || strings.Contains(name, "long-line") {
				continue // they only slow the search down
			}
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}
	cases, err := filepath.Glob("../../tests/conformance/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range cases {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "Dockerfile" {
				f.Add(part.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		started := processorTime(t)
		o := options()
		o.BuildArgs = map[string]*string{"X": value("a$Y"), "HTTP_PROXY": value("p")}
		o.Contexts = map[string]plan.NamedContext{"ctx": {Kind: plan.ContextDirectory, Ref: "/x"},
			"img": {Kind: plan.ContextImage, Ref: "busybox"}}
		if f, err := dockerfile.Parse("Dockerfile", text, dockerfile.Options{}); err == nil {
			if _, err := plan.Check(t.Context(), f, o); err != nil && !isPlaced(err) {
				t.Errorf("check: not a *dockerfile.Error: %T %v", err, err)
			}
			if _, err := plan.MakeOutline(t.Context(), f, o); err != nil && !isPlaced(err) {
				t.Errorf("outline: not a *dockerfile.Error: %T %v", err, err)
			}
			plan.Targets(f)
		}
		g, err := make1(t.Context(), text, o)
		if took := processorTime(t) - started; took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if err != nil {
			if !isPlaced(err) {
				t.Errorf("not a *dockerfile.Error: %T %v", err, err)
			}
			return
		}
		checkGraph(t, g)
	})
}

func isPlaced(err error) bool {
	e := new(dockerfile.Error)
	return errors.As(err, &e)
}

// FuzzExpand expands any word: no panic, no hang, and what BuildKit's own lexer makes of it.
func FuzzExpand(f *testing.F) {
	for _, word := range []string{
		"$V", "${V}", "${V:-d}", "${V:+a}", "${V-$W}", "${W?no}", "${V#v*}", "${V%%e}", "${V/a/${W}}", "${V//[a-l]/x}",
		"\\$V", "${V", "$", "$$", "${}", "${V:-${W:-${V}}}",
		"${V/\\//-}", "x${V##*a}y", "${V:0:1}", "${1}", "$1x", "$*", "${V%%%%${W}}",
	} {
		f.Add(word, "value", "")
		f.Add(word, "a/b.c*", "w")
	}
	f.Fuzz(func(t *testing.T, word, v, w string) {
		started := processorTime(t)
		o := options()
		o.BuildArgs = map[string]*string{"V": &v, "W": &w}
		g, err := make1(t.Context(), []byte("FROM alpine\nARG V\nARG W\nLABEL l="+word+"\n"), o)
		if took := processorTime(t) - started; took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		if strings.ContainsAny(word, "\"'\\#<\x00") || strings.ContainsFunc(word, unicode.IsSpace) ||
			!utf8.ValidString(word) {
			return // the parser makes something else of it before it is expanded
		}
		want, _, wrong := shell.NewLex('\\').ProcessWord(word,
			shell.EnvsFromSlice([]string{"PATH=/usr/bin:/bin", "V=" + v, "W=" + w}))
		if err == nil && wrong != nil {
			t.Errorf("BuildKit refuses it: %v", wrong)
		}
		if err == nil && g.Target.Image.Config.Labels["l"] != want {
			t.Errorf("got %q, BuildKit %q", g.Target.Image.Config.Labels["l"], want)
		}
	})
}

// processorTime is how long this process has been computing: what a busy machine does not make longer.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// FuzzMounts plans a RUN with a mount of any text: what comes of it has an absolute target and a type, or is an error
// with a place.
func FuzzMounts(f *testing.F) {
	for _, text := range []string{
		"type=bind,source=a,target=/b,rw", "type=cache,id=x,target=c,sharing=locked,uid=1,gid=2,mode=0755",
		"type=tmpfs,target=/t,size=1g",
		"type=secret,id=s,env=S,required", "type=ssh,id=default,target=/x,mode=0600", "target=/x,from=base",
		"type=cache,target=$X",
		"type=bind,target=/proc/../sys", "", ",=,", "type=secret,\"id=a,b\"",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := "FROM scratch AS base\nARG X=/y\nRUN --mount=" + text + " [\"true\"]\n"
		parsed, err := dockerfile.Parse("Dockerfile", []byte(file), dockerfile.Options{})
		var g *plan.Graph
		if err == nil {
			g, err = plan.Make(t.Context(), parsed, options())
		}
		if err != nil {
			if !errors.As(err, new(*dockerfile.Error)) {
				t.Errorf("%q: %T %v", text, err, err)
			}
			return
		}
		for _, s := range g.Steps {
			run, ok := s.Op.(*plan.Run)
			if !ok {
				continue
			}
			for _, m := range run.Mounts {
				if m.Type == "" || m.Target != "" && !strings.HasPrefix(m.Target, "/") {
					t.Errorf("%q: %+v", text, m)
				}
			}
		}
	})
}
