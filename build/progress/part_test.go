package progress_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cooperbuild/cooper/build/progress"
)

// seen keeps the events that it is given.
type seen struct{ events []progress.Event }

func (s *seen) Emit(e progress.Event) { s.events = append(s.events, e) }

func TestAPartOfABuildHasStepsOfItsOwn(t *testing.T) {
	t.Parallel()
	failure := errors.New("no")
	events := []progress.Event{
		progress.StepStarted{ID: 1, Name: "[2/5]", Text: "RUN x"}, progress.StepStarted{ID: 2, Text: "RUN y"},
		progress.StepOutput{ID: 1, Data: []byte("out")}, progress.Transfer{ID: 2, What: "layer", Done: 1, Total: 3},
		progress.Warning{Message: "odd"}, progress.StepDone{ID: 1, Err: failure}, progress.Note{Text: "said"},
		progress.Planned{Instructions: []progress.Instruction{{ID: 1, Text: "RUN x"}}},
	}
	for name, test := range map[string]struct {
		part progress.Part
		want []progress.Event
	}{
		"inner build": {progress.Part{First: 100, Name: "base"}, []progress.Event{
			progress.StepStarted{ID: 101, Name: "[base] [2/5]", Text: "RUN x"},
			progress.StepStarted{ID: 102, Name: "[base]", Text: "RUN y"},
			progress.StepOutput{ID: 101, Data: []byte("out")},
			progress.Transfer{ID: 102, What: "layer", Done: 1, Total: 3},
			progress.Warning{Message: "odd"}, progress.StepDone{ID: 101, Err: failure}, progress.Note{Text: "said"},
		}},
		"second attempt": {progress.Part{First: 100, Again: true}, []progress.Event{
			progress.StepStarted{ID: 101, Name: "[2/5]", Text: "RUN x"}, progress.StepStarted{ID: 102, Text: "RUN y"},
			progress.StepOutput{ID: 101, Data: []byte("out")},
			progress.Transfer{ID: 102, What: "layer", Done: 1, Total: 3},
			progress.StepDone{ID: 101, Err: failure}, progress.Note{Text: "said"},
			progress.Planned{Instructions: []progress.Instruction{{ID: 101, Text: "RUN x"}}},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := new(seen)
			test.part.To = to
			for _, e := range events {
				test.part.Emit(e)
			}
			if diff := cmp.Diff(test.want, to.events, cmpopts.EquateErrors()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
