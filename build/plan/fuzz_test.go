package plan_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	f.Fuzz(func(t *testing.T, text []byte) {
		started := time.Now()
		o := options()
		o.BuildArgs = map[string]*string{"X": value("a$Y"), "HTTP_PROXY": value("p")}
		o.Contexts = map[string]plan.NamedContext{"ctx": {Kind: plan.ContextDirectory, Ref: "/x"}, "img": {Kind: plan.ContextImage, Ref: "busybox"}}
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
		if took := time.Since(started); took > 5*time.Second {
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
