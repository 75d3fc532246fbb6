package usage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/usage"
)

// notes keeps the notes that it is shown.
type notes struct {
	progress.Discard
	texts []string
}

func (n *notes) Emit(e progress.Event) {
	if note, ok := e.(progress.Note); ok {
		n.texts = append(n.texts, note.Text)
	}
}

func TestWhatStepsTookIsKeptAndSaidWhereItIsWanted(t *testing.T) {
	t.Parallel()
	const line = "[2/3] took 1.50s of processor time and 3MB of memory, read 0B and wrote 2kB"
	for _, tell := range []bool{false, true} {
		var view notes
		c := usage.Collect(&view, tell)
		c.Emit(progress.StepStarted{ID: 4, Name: "[2/3]", Text: "RUN make"})
		c.Emit(progress.StepUsed{ID: 4, Memory: 3000000, CPU: 1500 * time.Millisecond, Wrote: 2000})
		want := []usage.Taken{{Step: "[2/3]", Text: "RUN make", Seconds: 1.5, Memory: 3000000, Wrote: 2000}}
		if diff := cmp.Diff(want, c.Taken()); diff != "" {
			t.Error(diff)
		}
		if said := strings.Join(view.texts, ""); (said == line) != tell {
			t.Errorf("said %q", said)
		}
		if c.Text() != line+"\n" {
			t.Errorf("%q", c.Text())
		}
	}
}

func TestACollectorShowsNotesIfWhatItStandsBeforeDoes(t *testing.T) {
	t.Parallel()
	if progress.Tell(usage.Collect(progress.Discard{}, true)) != nil {
		t.Error("somebody looks for what nobody sees")
	}
	if progress.Tell(usage.Collect(progress.NewSplit(true, nil), true)) == nil {
		t.Error("nobody is told")
	}
}
