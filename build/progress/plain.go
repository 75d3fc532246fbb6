package progress

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
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

var _ Renderer = (*plain)(nil)

func newPlain(out io.Writer) *plain { return &plain{out: out, tracker: newTracker(nil)} }

// Emit implements Sink. It waits for the write.
func (p *plain) Emit(e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}

	switch e := e.(type) {
	case StepStarted:
		if p.any {
			p.buf = append(p.buf, '\n')
		}
		s := p.tracker.start(e)
		p.line(s, s.title())
	case StepOutput:
		s := p.tracker.step(e.ID)
		s.stream(e.Stderr).write(e.Data, func(l line) { p.output(s, l) })
	case Transfer:
		p.transfer(e)
	case Explained:
		p.line(p.tracker.step(e.ID), "WHY "+oneLine(e.Text))
	case StepDone:
		p.done(e)
	case Warning:
		p.buf = append(append(append(p.buf, "WARNING: "...), e.String()...), '\n')
	case Note:
		p.buf = append(append(p.buf, oneLine(e.Text)...), '\n')
	}
	p.flush()
}

// Close implements Renderer.
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

func (p *plain) output(s *step, l line) {
	at := strconv.FormatFloat(p.tracker.elapsed(s).Seconds(), 'f', 3, 64)
	p.line(s, at+" "+l.text)
}

func (p *plain) rest(s *step) {
	for _, l := range []*lines{&s.stdout, &s.stderr} {
		l.flush(func(l line) { p.output(s, l) })
	}
}

func (p *plain) transfer(e Transfer) {
	if x := p.tracker.due(e, transferEvery); x != nil {
		p.line(p.tracker.step(e.ID), oneLine(e.What)+": "+x.String())
	}
}

func (p *plain) done(e StepDone) {
	s, how := p.tracker.finish(e)
	p.rest(s)
	for _, what := range slices.Sorted(maps.Keys(s.transfers)) {
		if x := s.transfers[what]; !x.over {
			p.line(s, oneLine(what)+": "+x.String())
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
			text += " (" + oneLine(e.Reason) + ")"
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

// String is the warning on one line, as in "Containerfile:3: StageNameCasing: message (https://page)".
func (w Warning) String() string {
	text := oneLine(w.Message)
	if w.Rule != "" {
		text = oneLine(w.Rule) + ": " + text
	}
	if w.URL != "" {
		text += " (" + oneLine(w.URL) + ")"
	}
	switch {
	case w.File != "" && w.Line > 0:
		return fmt.Sprintf("%s:%d: %s", oneLine(w.File), w.Line, text)
	case w.File != "":
		return oneLine(w.File) + ": " + text
	}
	return text
}
