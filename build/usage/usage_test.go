package usage_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/usage"
	"github.com/cooperbuild/cooper/network/policy"
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
	const line = "[2/3] took 1.50s of processor time and 3MB of memory, read 0B, wrote 2kB, sent 5B and received 70B"
	for _, tell := range []bool{false, true} {
		var view notes
		c := usage.Collect(&view, tell, tell)
		c.Emit(progress.StepStarted{ID: 4, Name: "[2/3]", Text: "RUN make"})
		traffic := []policy.Traffic{{Connections: 1, Sent: 2, Received: 40}, {Connections: 2, Sent: 3, Received: 30}}
		c.Emit(progress.StepTalked{ID: 4, Traffic: traffic})
		c.Emit(progress.StepUsed{ID: 4, Memory: 3000000, CPU: 1500 * time.Millisecond, Wrote: 2000})
		want := []usage.Taken{{Step: "[2/3]", Text: "RUN make", Seconds: 1.5, Memory: 3000000, Wrote: 2000,
			Sent: 5, Received: 70}}
		if tell { // and whom it has talked to
			want[0].Talked = traffic
		}
		if diff := cmp.Diff(want, c.Taken(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
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
	if progress.Tell(usage.Collect(progress.Discard{}, true, false)) != nil {
		t.Error("somebody looks for what nobody sees")
	}
	if progress.Tell(usage.Collect(progress.NewSplit(true, nil), true, false)) == nil {
		t.Error("nobody is told")
	}
}
