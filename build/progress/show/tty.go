package show

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/lines"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/internal/terminal"
)

const (
	// frameEvery is how often the live view is drawn.
	frameEvery = 100 * time.Millisecond
	// tailLines is how many lines of output a running step shows.
	tailLines = 6
	// maxScroll is how many bytes of finished lines may wait for a terminal that takes no output.
	maxScroll = 1 << 20
)

type ttyOptions struct {
	out   io.Writer
	size  func() (terminal.Size, error)
	color bool
	// now is the clock; nil: the real one. Each value from frames draws a frame; nil: a ticker's. Tests set both.
	now    func() time.Time
	frames <-chan time.Time
}

// tty is the live view. Finished lines scroll by; below them stands a block that every frame overwrites. All of a frame
// goes out in one write that leaves no terminal mode changed.
type tty struct {
	ttyOptions
	palette palette

	// mu guards what follows up to stop.
	mu      sync.Mutex
	tracker tracker
	// scroll holds the finished lines that have not been written yet.
	scroll bytes.Buffer
	closed bool

	stop     chan struct{}
	finished chan struct{}
	// drawn has the width in cells of each line of the block that is on the terminal. Only the drawing goroutine uses
	// drawn and err until finished is closed.
	drawn []int
	err   error
}

var _ progress.Renderer = (*tty)(nil)

func newTTY(o ttyOptions) *tty {
	t := &tty{
		ttyOptions: o,
		palette:    palette{o.color},
		tracker:    newTracker(o.now),
		stop:       make(chan struct{}),
		finished:   make(chan struct{}),
	}
	go func() {
		defer close(t.finished)
		if err := guard.Call(func() error { t.loop(); return nil }); err != nil {
			t.err = err // the build goes on
		}
	}()
	return t
}

// Emit implements progress.Sink. It never waits for the terminal.
func (t *tty) Emit(e progress.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	switch e := e.(type) {
	case progress.StepStarted:
		t.tracker.start(e)
	case progress.StepOutput:
		t.tracker.keep(e)
	case progress.Transfer:
		t.tracker.transfer(e)
	case progress.Explained:
		t.tracker.step(e.ID).why = lines.One(e.Text)
	case progress.StepDone:
		t.done(e)
	case progress.Warning:
		t.print(t.palette.paint(yellow, "WARNING: ") + e.String())
	case progress.Note:
		t.print(lines.One(e.Text))
	}
}

// Close implements progress.Renderer.
func (t *tty) Close() error {
	t.mu.Lock()
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	if first {
		close(t.stop)
	}
	<-t.finished
	return t.err
}

func (t *tty) loop() {
	frames := t.frames
	if frames == nil {
		ticker := time.NewTicker(frameEvery)
		defer ticker.Stop()
		frames = ticker.C
	}
	for {
		select {
		case <-frames:
			t.draw(false)
		case <-t.stop:
			t.draw(true)
			return
		}
	}
}

// print adds a finished line.
func (t *tty) print(s string) {
	if t.scroll.Len() < maxScroll {
		t.scroll.WriteString(s)
		t.scroll.WriteByte('\n')
	}
}

func (t *tty) done(e progress.StepDone) {
	s, how := t.tracker.finish(e)
	t.tracker.keepRest(s)
	t.print(t.finishedLine(s, how, lines.One(e.Reason)))
	if s.why != "" {
		t.print(t.palette.paint(faint, " => => "+s.why))
	}
}

func (t *tty) finishedLine(s *step, how outcome, reason string) string {
	label, title, c := "", s.title(), cyan
	switch how {
	case outcomeFailed:
		label, c = "ERROR ", red
	case outcomeCanceled:
		label, c = "CANCELED ", yellow
	case outcomeCached:
		label = "CACHED "
	case outcomeDone:
		if reason != "" {
			title += " (" + reason + ")"
		}
	}
	return t.palette.paint(c, stepLine(label+title, t.tracker.elapsed(s), t.terminal().Width))
}

// terminal gives the size of the terminal, or a common one if it isn't known.
func (t *tty) terminal() terminal.Size {
	if s, err := t.size(); err == nil {
		return s
	}
	return terminal.Size{Width: 80, Height: 24}
}

// stepLine puts a title on the left and the time on the right.
func stepLine(title string, elapsed time.Duration, width int) string {
	at := strconv.FormatFloat(elapsed.Seconds(), 'f', 1, 64) + "s"
	room := width - len(at) - 1
	if room < 10 {
		text, _ := fit(" => "+title, width)
		return text
	}
	text, w := fit(" => "+title, room)
	return text + strings.Repeat(" ", room-w+1) + at
}

// draw writes one frame; the last one leaves no block.
func (t *tty) draw(last bool) {
	var frame bytes.Buffer
	block, ok := t.beginFrame(&frame, last)
	if !ok {
		return
	}
	t.drawn = t.drawn[:0]
	for _, l := range block {
		// The old line is erased before the new one is written: after a line as wide as the terminal the cursor is on its
		// last character, which would be erased, too.
		frame.WriteString("\x1b[K" + l + "\n")
		t.drawn = append(t.drawn, visibleWidth(l))
	}
	frame.WriteString("\x1b[J\x1b[?7h")
	if t.err != nil {
		return
	}
	if _, err := t.out.Write(frame.Bytes()); err != nil {
		t.err = fmt.Errorf("write progress: %w", err)
	}
}

// beginFrame goes to the beginning of the old block, writes what scrolls by, and gives the lines of the new block;
// false if nothing changes.
func (t *tty) beginFrame(frame *bytes.Buffer, last bool) (block []string, ok bool) {
	sz := t.terminal()
	t.mu.Lock()
	defer t.mu.Unlock()
	if last {
		t.conclude()
	} else {
		block = t.block(sz)
	}
	if t.scroll.Len() == 0 && len(block) == 0 && len(t.drawn) == 0 {
		return nil, false
	}

	// Without automatic wrapping a line whose width was misjudged can't spoil the block.
	frame.WriteString("\x1b[?7l")
	if up := min(rows(t.drawn, sz.Width), sz.Height-1); up > 0 {
		fmt.Fprintf(frame, "\r\x1b[%dA", up)
	}
	if t.scroll.Len() > 0 {
		// What scrolls by may be longer than a line and must wrap.
		frame.WriteString("\x1b[J\x1b[?7h")
		frame.Write(t.scroll.Bytes())
		frame.WriteString("\x1b[?7l")
		t.scroll.Reset()
	}

	return block, true
}

// conclude prints what is left at the end.
func (t *tty) conclude() {
	for _, s := range t.tracker.sorted() {
		t.done(progress.StepDone{ID: s.id, Err: context.Canceled})
	}
	if t.tracker.number > 0 {
		t.print(t.header())
	}
	t.scroll.WriteString(t.tracker.report(t.palette))
}

func (t *tty) header() string {
	k := &t.tracker
	text := fmt.Sprintf("[+] Building %.1fs (%d done", k.now().Sub(k.began).Seconds(), k.done)
	for _, c := range []struct {
		n    int
		what string
	}{{k.cached, "cached"}, {k.broken, "failed"}, {k.canceled, "canceled"}, {len(k.running), "running"}} {
		if c.n > 0 {
			text += fmt.Sprintf(", %d %s", c.n, c.what)
		}
	}
	return text + ")"
}

// block lays out the running steps in the lines that the terminal has.
func (t *tty) block(sz terminal.Size) []string {
	running := t.tracker.sorted()
	if len(running) == 0 || sz.Height < 3 {
		return nil
	}

	head, _ := fit(t.header(), sz.Width)
	out := []string{head}
	// One line is the header's, and one stays empty for the cursor.
	room := sz.Height - 2
	hidden := 0
	if len(running) > room {
		hidden = len(running) - room + 1
		running = running[:len(running)-hidden]
		room = len(running)
	}

	room -= len(running)
	details := make([][]string, len(running))
	for i, s := range running {
		details[i] = s.details()
	}

	quota := share(room, details)
	for i, s := range running {
		out = append(out, stepLine(s.title(), t.tracker.elapsed(s), sz.Width))
		d := details[i]
		for _, l := range d[len(d)-quota[i]:] {
			text, _ := fit(" => => "+l, sz.Width)
			out = append(out, t.palette.paint(faint, text))
		}
	}

	if hidden > 0 {
		text, _ := fit(fmt.Sprintf(" => … and %d more", hidden), sz.Width)
		out = append(out, text)
	}
	return out
}

// details gives the lines below a running step: its unfinished transfers and the last lines of its output.
func (s *step) details() []string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(s.transfers)) {
		if x := s.transfers[what]; x.total <= 0 || x.done < x.total {
			out = append(out, lines.One(what)+" "+x.String())
		}
	}
	for _, l := range s.tail.last(tailLines) {
		out = append(out, "# "+l.text)
	}
	for _, l := range []*lines.Stream{&s.stdout, &s.stderr} {
		if text := l.Current(); text != "" {
			out = append(out, "# "+text)
		}
	}
	return out[max(len(out)-tailLines, 0):]
}

// share divides room lines evenly among the steps, and gives none more lines than it has.
func share(room int, details [][]string) []int {
	quota := make([]int, len(details))
	for given := true; given && room > 0; {
		given = false
		for i := range details {
			if room > 0 && quota[i] < len(details[i]) {
				quota[i]++
				room--
				given = true
			}
		}
	}
	return quota
}

// rows gives the number of rows that lines of these widths in cells take on a terminal whose width is width by now.
func rows(widths []int, width int) int {
	n := 0
	for _, w := range widths {
		n += max((w+width-1)/max(width, 1), 1)
	}
	return n
}

// visibleWidth gives the width in cells of a line, not counting its colour sequences.
func visibleWidth(s string) int {
	var l lines.Stream
	l.Take([]byte(s), func(lines.Line) {})
	_, w := fit(l.Current(), lines.Most)
	return w
}
