package progress

import (
	"fmt"
	"io"
	"sync"
)

// quiet shows failed steps at the end, and nothing else.
type quiet struct {
	mu      sync.Mutex
	out     io.Writer
	tracker tracker
	err     error
	closed  bool
}

var _ Renderer = (*quiet)(nil)

func newQuiet(out io.Writer) *quiet { return &quiet{out: out, tracker: newTracker(nil)} }

// silent tells whether a sink shows no notes.
func silent(s Sink) bool {
	switch s.(type) {
	case Discard, *quiet:
		return true
	}
	return false
}

// Emit implements Sink. It never waits for a write.
func (q *quiet) Emit(e Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	switch e := e.(type) {
	case StepStarted:
		q.tracker.start(e)
	case StepOutput:
		q.tracker.keep(e)
	case StepDone:
		s, _ := q.tracker.finish(e)
		q.tracker.keepRest(s)
	}
}

// Close implements Renderer.
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
