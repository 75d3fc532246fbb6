package progress_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/progress"
)

func TestNobodyIsToldWhereNothingIsShown(t *testing.T) {
	t.Parallel()
	for name, to := range map[string]progress.Sink{
		"nobody": progress.Discard{}, "a part that nobody sees": progress.Part{To: progress.Part{To: progress.Discard{}}},
		"platforms that nobody sees": progress.NewSplit(false, nil),
	} {
		if progress.Tell(to) != nil {
			t.Errorf("%s: somebody looks for what nobody sees", name)
		}
	}
	to := new(seen)
	progress.Tell(progress.Part{To: to})("half a layer")
	if diff := cmp.Diff([]progress.Event{progress.Note{Text: "WARNING: half a layer"}}, to.events); diff != "" {
		t.Error(diff)
	}
}
