package show

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/lines"
)

const (
	// maxTail is how many lines of a step's output are kept in case it fails, maxTailLine how many bytes of each.
	maxTail     = 100
	maxTailLine = 512
	// maxTransfers is how many transfers of a step are followed, maxFailures how many failed steps are shown in full.
	maxTransfers = 64
	maxFailures  = 16
)

// step is the state of a step that is running or has failed.
type step struct {
	id int
	// number counts the steps from 1 as they start.
	number int
	name   string
	text   string
	// why says why it runs; empty: nobody has asked.
	why     string
	started time.Time
	stdout  lines.Stream
	stderr  lines.Stream
	tail    tail
	// transfers is keyed by what is transferred.
	transfers map[string]*transfer
}

// title gives the step's place and text, as in "[builder 3/7] RUN make".
func (s *step) title() string {
	if s.name == "" {
		return s.text
	}
	return s.name + " " + s.text
}

// stream gives the lines of standard output or standard error.
func (s *step) stream(stderr bool) *lines.Stream {
	if stderr {
		return &s.stderr
	}
	return &s.stdout
}

// logged is a line of output; at is the time from the step's start to the line.
type logged struct {
	at   time.Duration
	text string
}

// tail keeps the last lines.
type tail struct {
	ring []logged
	// next is the index in ring that the next line replaces, once the ring is full.
	next int
}

func (t *tail) add(at time.Duration, l lines.Line) {
	// This continues a line that is too long and was added already, cut short.
	if l.More {
		return
	}
	entry := logged{at, l.Text}
	if len(l.Text) > maxTailLine {
		cut := maxTailLine
		for cut > 0 && !utf8.RuneStart(l.Text[cut]) {
			cut--
		}
		entry.text = l.Text[:cut] + "…"
	}
	if len(t.ring) < maxTail {
		t.ring = append(t.ring, entry)
		return
	}
	t.ring[t.next] = entry
	t.next = (t.next + 1) % maxTail
}

// last gives the last n lines, oldest first.
func (t *tail) last(n int) []logged {
	n = min(n, len(t.ring))
	out := make([]logged, 0, n)
	for i := len(t.ring) - n; i < len(t.ring); i++ {
		out = append(out, t.ring[(t.next+i)%len(t.ring)])
	}
	return out
}

// transfer is the state of one transfer.
type transfer struct {
	done, total, files int64
	// shown is the time at which the transfer was shown last; over tells that its end was shown.
	shown time.Time
	over  bool
}

func (t *transfer) String() string {
	text := formatBytes(t.done)
	switch {
	case t.total > 0 && t.done >= t.total:
		text += " done"
	case t.total > 0:
		text += " / " + formatBytes(t.total)
	}
	switch {
	case t.files == 1:
		text = "1 file, " + text
	case t.files > 1:
		text = fmt.Sprintf("%d files, %s", t.files, text)
	}
	return text
}

// failure is a step that failed.
type failure struct {
	step *step
	err  error
}

// tracker follows the steps of a build. Its users hold a lock while they call it.
type tracker struct {
	now     func() time.Time
	began   time.Time
	running map[int]*step
	failed  []failure
	// Counts of steps: number have started; done, cached, broken and canceled have ended in that way.
	number, done, cached, broken, canceled int
}

func newTracker(now func() time.Time) tracker {
	if now == nil {
		now = time.Now
	}
	return tracker{now: now, began: now(), running: map[int]*step{}}
}

func (t *tracker) start(e progress.StepStarted) *step {
	t.number++
	s := &step{id: e.ID, number: t.number, name: lines.One(e.Name), text: lines.One(e.Text), started: t.now()}
	t.running[e.ID] = s
	return s
}

// step gives a running step. It makes one up for an ID without a StepStarted, rather than lose the output.
func (t *tracker) step(id int) *step {
	if s, ok := t.running[id]; ok {
		return s
	}
	return t.start(progress.StepStarted{ID: id, Text: fmt.Sprintf("step %d", id)})
}

func (t *tracker) elapsed(s *step) time.Duration { return t.now().Sub(s.started) }

// transfer records how far a transfer has come. It gives nil if its step has more than maxTransfers.
func (t *tracker) transfer(e progress.Transfer) *transfer {
	s := t.step(e.ID)
	x := s.transfers[e.What]
	if x == nil {
		if len(s.transfers) >= maxTransfers || len(e.What) > lines.MostText {
			return nil
		}
		if s.transfers == nil {
			s.transfers = map[string]*transfer{}
		}
		x = &transfer{shown: t.now()}
		s.transfers[strings.Clone(e.What)] = x
	}
	x.done, x.total, x.files = e.Done, e.Total, e.Files
	return x
}

// due does what transfer does, for renderers that write one line after the other: it gives the transfer only if it
// shall be shown now, which is once in every interval and once at its end.
func (t *tracker) due(e progress.Transfer, every time.Duration) *transfer {
	x := t.transfer(e)
	if x == nil || x.over {
		return nil
	}
	x.over = x.total > 0 && x.done >= x.total
	now := t.now()
	if !x.over && now.Sub(x.shown) < every {
		return nil
	}
	x.shown = now
	return x
}

// finish removes a step from the running ones and tells how it ended.
func (t *tracker) finish(e progress.StepDone) (*step, outcome) {
	s := t.step(e.ID)
	delete(t.running, e.ID)
	o := outcomeOf(e)
	switch o {
	case outcomeFailed:
		t.broken++
		if len(t.failed) < maxFailures {
			t.failed = append(t.failed, failure{s, e.Err})
		}
	case outcomeCanceled:
		t.canceled++
	case outcomeCached:
		t.cached++
		t.done++
	case outcomeDone:
		t.done++
	}
	return s, o
}

// keep puts output into the step's tail.
func (t *tracker) keep(e progress.StepOutput) {
	s := t.step(e.ID)
	at := t.elapsed(s)
	s.stream(e.Stderr).Take(e.Data, func(l lines.Line) { s.tail.add(at, l) })
}

// keepRest puts the last line of each stream into the tail if it has no newline.
func (t *tracker) keepRest(s *step) {
	at := t.elapsed(s)
	for _, l := range []*lines.Stream{&s.stdout, &s.stderr} {
		l.Flush(func(l lines.Line) { s.tail.add(at, l) })
	}
}

// sorted gives the running steps in the order in which they started.
func (t *tracker) sorted() []*step {
	return slices.SortedFunc(maps.Values(t.running), func(a, b *step) int { return a.number - b.number })
}

// report shows the failed steps with the end of their output.
func (t *tracker) report(c palette) string {
	var b strings.Builder
	for _, f := range t.failed {
		b.WriteString("------\n")
		fmt.Fprintf(&b, " > %s: %s\n", f.step.title(), c.paint(red, short(f.err)))
		for _, l := range f.step.tail.last(maxTail) {
			fmt.Fprintf(&b, "%.3f %s\n", l.at.Seconds(), l.text)
		}
		b.WriteString("------\n")
	}
	return b.String()
}

// short gives an error on one line, without its hint, which the caller of Close prints with the whole error.
func short(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\nhint: ")
	return lines.One(text)
}

// outcome says how a step ended.
type outcome int

const (
	outcomeDone outcome = iota
	outcomeCached
	outcomeFailed
	outcomeCanceled
)

func outcomeOf(e progress.StepDone) outcome {
	switch {
	case errors.Is(e.Err, context.Canceled):
		return outcomeCanceled
	case e.Err != nil:
		return outcomeFailed
	case e.Cached:
		return outcomeCached
	}
	return outcomeDone
}

// formatBytes writes a number of bytes with a decimal unit, as docker does.
func formatBytes(n int64) string {
	if n < 1000 {
		return fmt.Sprintf("%dB", n)
	}
	v, units := float64(n)/1000, []string{"kB", "MB", "GB", "TB"}
	for v >= 999.995 && len(units) > 1 {
		v, units = v/1000, units[1:]
	}
	return fmt.Sprintf("%.2f%s", v, units[0])
}

// color is an SGR parameter.
type color string

const (
	red    color = "31"
	yellow color = "33"
	cyan   color = "36"
	faint  color = "2"
)

// palette paints text, unless it is off.
type palette struct{ on bool }

func (p palette) paint(c color, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}
