package show

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/progress"
)

// shownSteps are both streams of a view after some events; lines of the second begin with "2>".
func shownSteps(t *testing.T, events ...progress.Event) string {
	t.Helper()
	var all strings.Builder
	v := newSteps(&all, prefixed{&all}, "x:1")
	for _, e := range events {
		v.Emit(e)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	return all.String()
}

// prefixed writes with a mark before each text.
type prefixed struct{ to *strings.Builder }

func (p prefixed) Write(text []byte) (int, error) {
	p.to.WriteString("2>")
	return p.to.Write(text)
}

// stages is a plan of two stages.
func stages() progress.Planned {
	return progress.Planned{Instructions: []progress.Instruction{
		{ID: 0, IsStep: true, Stage: 1, Stages: 2, Number: 1, Total: 2, Text: "FROM a AS b"},
		{ID: 1, IsStep: true, Stage: 1, Stages: 2, Number: 2, Total: 2, Text: "RUN one"},
		{Stage: 2, Stages: 2, Number: 1, Total: 3, Text: "FROM scratch"},
		{Stage: 2, Stages: 2, Number: 2, Total: 3, Text: "ENV A=b"},
		{ID: 2, IsStep: true, Stage: 2, Stages: 2, Number: 3, Total: 3, Text: "COPY --from=b / /"},
	}}
}

func TestInstructionsAreShownInTheirOrderWhateverRunsAhead(t *testing.T) {
	t.Parallel()
	got := shownSteps(t, progress.Note{Text: "a note"}, stages(),
		progress.StepStarted{ID: 2}, progress.StepOutput{ID: 2, Data: []byte("ahead\n")},
		progress.StepDone{ID: 2, Cached: true},
		progress.StepStarted{ID: 0}, progress.StepDone{ID: 0, Cached: true},
		progress.StepStarted{ID: 1}, progress.StepOutput{ID: 1, Data: []byte("o\x1b[2Jne\nt")},
		progress.StepOutput{ID: 1, Data: []byte("error\n"),
			Stderr: true},
		progress.StepOutput{ID: 1, Data: []byte("wo")}, progress.StepDone{ID: 1},
		progress.Note{Text: "tagged x:1", Tagged: "x:1"}, progress.Note{Text: "tagged x:2", Tagged: "x:2"},
		progress.Committed{ID: "0123456789abcdef"})
	want := `2>a note
[1/2] STEP 1/2: FROM a AS b
[1/2] STEP 2/2: RUN one
one
2>error
two
[2/2] STEP 1/3: FROM scratch
[2/2] STEP 2/3: ENV A=b
[2/2] STEP 3/3: COPY --from=b / /
ahead
--> Using cache
[2/2] COMMIT x:1
Successfully tagged x:1
Successfully tagged x:2
--> 0123456789ab
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAFailedInstructionIsShownThoughItsTurnNeverComes(t *testing.T) {
	t.Parallel()
	got := shownSteps(t, stages(), progress.StepStarted{ID: 0}, progress.StepStarted{ID: 2},
		progress.StepOutput{ID: 2, Data: []byte("why")},
		progress.StepDone{ID: 2, Err: errors.New("broken")})
	want := "[1/2] STEP 1/2: FROM a AS b\n[2/2] STEP 3/3: COPY --from=b / /\nwhy\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestABuildForPlatformsAndOneThatBeginsAnewAreShown(t *testing.T) {
	t.Parallel()
	plan := progress.Planned{Instructions: []progress.Instruction{
		{ID: 4, IsStep: true, Platforms: "linux/arm64", Stage: 1, Stages: 1, Number: 1, Total: 1, Text: "FROM a"}}}
	got := shownSteps(t, plan, plan, progress.StepStarted{ID: 4})
	if want := "[linux/arm64] STEP 1/1: FROM a\n"; got != want {
		t.Errorf("%q", got)
	}
}
