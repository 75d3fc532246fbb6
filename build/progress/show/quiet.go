package show

import (
	"fmt"
	"io"
	"sync"

	"github.com/cooperbuild/cooper/build/progress"
)

// quiet shows failed steps at the end, and nothing else.
type quiet struct {
	mu      sync.Mutex
	out     io.Writer
	tracker tracker
	err     error
	closed  bool
}

var _ progress.Renderer = (*quiet)(nil)

func newQuiet(out io.Writer) *quiet { return &quiet{out: out, tracker: newTracker(nil)} }

// ShowsNotes is false; see progress.ShowsNotes.
func (*quiet) ShowsNotes() bool { return false }

// Emit implements progress.Sink. It never waits for a write.
func (q *quiet) Emit(e progress.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	switch e := e.(type) {
	case progress.StepStarted:
		q.tracker.start(e)
	case progress.StepOutput:
		q.tracker.keep(e)
	case progress.StepDone:
		s, _ := q.tracker.finish(e)
		q.tracker.keepRest(s)
	}
}

// Close implements progress.Renderer.
func (q *quiet) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return q.err
	}
	q.closed = true
	if text := q.tracker.report(palette{}); text != "" {
		if _, err := io.WriteString(q.out, text); err != nil {
			q.err = fmt.Errorf("write progress: %w", err)
		}
	}
	return q.err
}
