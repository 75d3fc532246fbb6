package steps_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/steps"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

func TestTheOutlineHasAllInstructionsOfNeededStagesAndTheirSteps(t *testing.T) {
	t.Parallel()
	f, err := dockerfile.Parse("one", []byte("FROM scratch AS unused\nFROM scratch AS a\nARG B=c\nCOPY x /x\n"),
		dockerfile.Options{
			Then: []dockerfile.Text{{Name: "two", Text: []byte("FROM scratch\nENV D=e\nCOPY --from=a \\\n  /x /y\nCMD z\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	g, err := plan.Make(t.Context(), f, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		Stage, Stages, Number, Total int
		Step                         bool
		Text                         string
	}
	var got []line
	ids := map[int]bool{}
	for _, i := range (steps.Names{Stages: len(g.Stages)}).Outline(g, f).Instructions {
		got = append(got, line{i.Stage, i.Stages, i.Number, i.Total, i.IsStep, i.Text})
		if _, copies := g.Steps[i.ID].Op.(*plan.Copy); i.IsStep && (ids[i.ID] || !copies) {
			t.Errorf("%s has the step %d", i.Text, i.ID)
		}
		ids[i.ID] = true
	}
	want := []line{
		{1, 2, 1, 3, false, "FROM scratch AS a"}, {1, 2, 2, 3, false, "ARG B=c"}, {1, 2, 3, 3, true, "COPY x /x"},
		{2, 2, 1, 4, false, "FROM scratch"}, {2, 2, 2, 4, false, "ENV D=e"}, {2, 2, 3, 4, true, "COPY --from=a   /x /y"},
		{2, 2, 4, 4, false, "CMD z"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
