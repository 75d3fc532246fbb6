package plan_test

import (
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

func TestAStageWaitsForTheStagesThatItIsAfter(t *testing.T) {
	t.Parallel()
	const head = "# syntax=cooper/dockerfile:1\nARG X=one\nFROM alpine AS one\nRUN one\nFROM alpine AS none\nRUN none\n"
	for text, want := range map[string]string{
		"FROM --after=$X alpine\nRUN last\n":               "",
		"FROM --after=0 scratch\n":                         "",
		"FROM --after=last alpine AS last\n":               `stage "last" not found above this one`,
		"FROM --after=two alpine\nFROM alpine AS two\n":    `stage "two" not found above this one`,
		"FROM --after=${X:?} alpine AS two\nFROM alpine\n": "",
	} {
		f, err := dockerfile.Parse("Dockerfile", []byte(head+text), dockerfile.Options{})
		if err != nil {
			t.Fatal(err)
		}
		g, err := plan.Make(t.Context(), f, options())
		if want != "" {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if len(g.Stages) == 1 { // the target needs none
			continue
		}
		first := g.Stages[1].Last
		for first.Parent != nil {
			first = first.Parent
		}
		if len(g.Stages) != 2 || len(first.Deps) != 1 || first.Deps[0] != g.Stages[0].Last {
			t.Errorf("%s: %d stages, and the last waits for %v", text, len(g.Stages), first.Deps)
		}
	}
}
