package reading

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// told keeps what is shown. One goroutine uses it.
type told []string

func (s *told) Emit(e progress.Event) { *s = append(*s, fmt.Sprintf("%T %+v", e, e)) }

func (s *told) text() string { return strings.Join(*s, "\n") }

func TestReadingIsShownIfItTakesLong(t *testing.T) {
	t.Parallel()
	shown := &told{}
	b := Reader{Progress: shown, Shown: progress.NewAsides(shown)}
	quick := b.begin("RUN quick")
	quick.moved(10)
	quick.end(t.Context(), nil)
	if len(*shown) != 0 {
		t.Errorf("what is quick is shown: %s", shown.text())
	}
	slow := b.begin("RUN slow")
	slow.began = slow.began.Add(-2 * readingShows)
	slow.moved(10)
	after := len(*shown)
	if !strings.Contains(shown.text(), "reading the files of RUN slow") {
		t.Errorf("shown: %s", shown.text())
	}
	slow.moved(10)
	if len(*shown) != after {
		t.Error("each piece is shown")
	}
	slow.told = slow.told.Add(-2 * readingEvery)
	slow.moved(10)
	if len(*shown) == after || !strings.Contains(shown.text(), "30") {
		t.Errorf("it is not shown how far it has come: %s", shown.text())
	}
	broken := errors.New("broken")
	slow.end(t.Context(), broken)
	if last := (*shown)[len(*shown)-1]; !strings.Contains(last, broken.Error()) {
		t.Errorf("the end is shown as %s", last)
	}
}

func TestAFileWithLittleInItIsNamedWithItsLine(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"var/log/lastlog": "useradd --no-log-init", "data/disk.img": "Remove it in the step that makes it",
	} {
		shown := &told{}
		b := Reader{Progress: shown}
		b.warnSparse(dockerfile.Location{File: "Dockerfile", StartLine: 7})(name, 3_000_000_000, 4096)
		if got := shown.text(); !strings.Contains(got, "Dockerfile:7: /"+name+" is 3GB long, with 4.096kB of data") ||
			!strings.Contains(got, want) {
			t.Errorf("shown: %s", got)
		}
	}
}

// fixed is a snapshot whose files are read as the test says.
type fixed struct {
	snapshot.Snapshot
	read func(snapshot.ReadOptions) (layer.Result, error)
}

func (f fixed) Read(_ context.Context, o snapshot.ReadOptions) (layer.Result, error) {
	return f.read(o)
}

// TestASnapshotIsReadAsTheBuildSays, and its error comes back as it is.
func TestASnapshotIsReadAsTheBuildSays(t *testing.T) {
	t.Parallel()
	shown := &told{}
	r := Reader{Date: &layer.Date{}, Sums: &layer.Sums{}, Progress: shown, Shown: progress.NewAsides(shown)}
	step := &plan.Step{Text: "RUN x", Location: dockerfile.Location{File: "Dockerfile", StartLine: 3}}
	broken := errors.New("broken")
	large := false
	for _, want := range []error{nil, broken} {
		res, err := r.Read(t.Context(), step, fixed{read: func(o snapshot.ReadOptions) (layer.Result, error) {
			if o.Date != r.Date || o.Sums != r.Sums {
				t.Error("the dates or sums are others")
			}
			o.LargeFile("f", [32]byte{})
			o.Progress(5)
			o.Sparse("f", 1<<40, 1)
			return layer.Result{Size: 7}, want
		}}, func(string, [32]byte) { large = true })
		if !errors.Is(err, want) || want == nil && err != nil || res.Size != 7 || !large {
			t.Errorf("%+v, %v, large files told: %t", res, err, large)
		}
	}
	if text := shown.text(); !strings.Contains(text, "Dockerfile:3: /f is 1.1TB long") ||
		strings.Contains(text, "reading the files") {
		t.Errorf("shown: %s", text)
	}
}
