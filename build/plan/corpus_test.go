package plan_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// corpusBase is the config of the corpus's one base image.
const corpusBase = `{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":[]}}`

// corpusImages finds the base, and what a case's parent.Dockerfile makes of it.
type corpusImages map[string]imagebuilder.Image

func (r corpusImages) Resolve(_ context.Context, ref string, _ plan.Wanted) (imagebuilder.Base, error) {
	name := strings.TrimSuffix(strings.TrimPrefix(ref, "localhost/"), ":latest")
	image, ok := r[name]
	if !ok {
		return imagebuilder.Base{}, fmt.Errorf("no such image: %s", ref)
	}
	return imagebuilder.Base{ID: name, Name: ref, Image: image}, nil
}

// TestPlansOfTheConformanceCorpus holds the plan of each case of tests/conformance against its golden part.
func TestPlansOfTheConformanceCorpus(t *testing.T) {
	paths, err := filepath.Glob("../../tests/conformance/*.txtar")
	if err != nil || len(paths) < 150 {
		t.Fatalf("%d cases in the corpus, want 150: %v", len(paths), err)
	}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			parts := map[string]string{}
			for _, f := range archive.Files {
				parts[f.Name] = string(f.Data)
			}
			if _, fails := parts["want/error"]; fails {
				return // some fail here, some only where a step is run
			}
			got := corpusText(t, corpusPlan(t, name, parts))
			if *update {
				setPart(archive, "want/plan", got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(parts["want/plan"], got); diff != "" {
				t.Errorf("plan of %s (-want +got; -update writes it):\n%s", path, diff)
			}
		})
	}
}

func setPart(archive *txtar.Archive, name, text string) {
	for i := range archive.Files {
		if archive.Files[i].Name == name {
			archive.Files[i].Data = []byte(text)
			return
		}
	}
	archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(text)})
}

// corpusPlan plans a case, after its parent.
func corpusPlan(t *testing.T, name string, parts map[string]string) *plan.Graph {
	t.Helper()
	base, err := imagebuilder.ParseImage([]byte(corpusBase))
	if err != nil {
		t.Fatal(err)
	}
	images := corpusImages{"base": base}
	o := options()
	o.Resolver = images
	if text, ok := parts["parent.Dockerfile"]; ok {
		parent, err := make1(t.Context(), []byte(text), o)
		if err != nil {
			t.Fatal(err)
		}
		images[name+"-parent"] = parent.Target.Image
	}
	o.BuildArgs, o.Labels, o.Contexts = map[string]*string{}, map[string]string{}, map[string]plan.NamedContext{}
	for _, flag := range strings.Fields(strings.ReplaceAll(parts["flags"], " ", "\x00")) {
		flag = strings.ReplaceAll(flag, "\x00", " ")
		kind, setting, _ := strings.Cut(flag, "=")
		key, text, _ := strings.Cut(setting, "=")
		switch kind {
		case "--build-arg":
			o.BuildArgs[key] = &text
		case "--label":
			o.Labels[key] = text
		case "--target":
			o.Target = setting
		default:
			t.Fatalf("flag %s of a case is not known here", flag)
		}
	}
	f, err := dockerfile.Parse("Dockerfile", []byte(parts["Dockerfile"]), dockerfile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	g, err := plan.Make(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	checkGraph(t, g)
	return g
}

// corpusText is a line of JSON a step, then the warnings.
func corpusText(t *testing.T, g *plan.Graph) string {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, s := range g.Steps {
		if err := enc.Encode(show(s)); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range g.Warnings {
		fmt.Fprintf(&b, "warning: line %d: %s: %s\n", w.Location.StartLine, w.Rule, w.Message)
	}
	return b.String()
}
