package reading

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
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
