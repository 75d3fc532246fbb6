package show

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/lines"
)

const (
	// transferEvery is how often plain shows a transfer.
	transferEvery = time.Second
	// writeAt is how many bytes of buffered lines are written at the latest.
	writeAt = 32 << 10
)

// plain writes lines as things happen.
type plain struct {
	mu      sync.Mutex
	out     io.Writer
	tracker tracker
	// buf holds the lines of one event, so that each event costs one write.
	buf    []byte
	any    bool
	err    error
	closed bool
}

var _ progress.Renderer = (*plain)(nil)

func newPlain(out io.Writer) *plain { return &plain{out: out, tracker: newTracker(nil)} }

// Emit implements progress.Sink. It waits for the write.
func (p *plain) Emit(e progress.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}

	switch e := e.(type) {
	case progress.StepStarted:
		if p.any {
			p.buf = append(p.buf, '\n')
		}
		s := p.tracker.start(e)
		p.line(s, s.title())
	case progress.StepOutput:
		s := p.tracker.step(e.ID)
		s.stream(e.Stderr).Take(e.Data, func(l lines.Line) { p.output(s, l) })
	case progress.Transfer:
		p.transfer(e)
	case progress.Explained:
		p.line(p.tracker.step(e.ID), "WHY "+lines.One(e.Text))
	case progress.StepDone:
		p.done(e)
	case progress.Warning:
		p.buf = append(append(append(p.buf, "WARNING: "...), e.String()...), '\n')
	case progress.Note:
		p.buf = append(append(p.buf, lines.One(e.Text)...), '\n')
	}
	p.flush()
}

// Close implements progress.Renderer.
func (p *plain) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		for _, s := range p.tracker.sorted() {
			p.rest(s)
		}
		p.flush()
	}
	return p.err
}

func (p *plain) line(s *step, text string) {
	p.buf = append(p.buf, '#')
	p.buf = strconv.AppendInt(p.buf, int64(s.number), 10)
	p.buf = append(append(append(p.buf, ' '), text...), '\n')
	if len(p.buf) >= writeAt {
		p.flush()
	}
}

func (p *plain) output(s *step, l lines.Line) {
	at := strconv.FormatFloat(p.tracker.elapsed(s).Seconds(), 'f', 3, 64)
	p.line(s, at+" "+l.Text)
}

func (p *plain) rest(s *step) {
	for _, l := range []*lines.Stream{&s.stdout, &s.stderr} {
		l.Flush(func(l lines.Line) { p.output(s, l) })
	}
}

func (p *plain) transfer(e progress.Transfer) {
	if x := p.tracker.due(e, transferEvery); x != nil {
		p.line(p.tracker.step(e.ID), lines.One(e.What)+": "+x.String())
	}
}

func (p *plain) done(e progress.StepDone) {
	s, how := p.tracker.finish(e)
	p.rest(s)
	for _, what := range slices.Sorted(maps.Keys(s.transfers)) {
		if x := s.transfers[what]; !x.over {
			p.line(s, lines.One(what)+": "+x.String())
		}
	}
	switch how {
	case outcomeFailed:
		p.line(s, "ERROR: "+short(e.Err))
	case outcomeCanceled:
		p.line(s, "CANCELED")
	case outcomeCached:
		p.line(s, "CACHED")
	case outcomeDone:
		text := fmt.Sprintf("DONE %.1fs", p.tracker.elapsed(s).Seconds())
		if e.Reason != "" {
			text += " (" + lines.One(e.Reason) + ")"
		}
		p.line(s, text)
	}
}

// flush writes the buffered lines. After the first error nothing is written any more, and the build goes on.
func (p *plain) flush() {
	if len(p.buf) > 0 && p.err == nil {
		p.any = true
		if _, err := p.out.Write(p.buf); err != nil {
			p.err = fmt.Errorf("write progress: %w", err)
		}
	}
	p.buf = p.buf[:0]
}
