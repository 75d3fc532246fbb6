package show

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/lines"
)

// stepView shows a build as buildah does: the instructions in the order of the Dockerfile, each with all that it writes
// before the next, on two streams. What steps that run ahead write is kept until it is their turn.
type stepView struct {
	mu sync.Mutex
	// out gets the instructions and what steps write to standard output, errs the rest.
	out, errs io.Writer
	name      string
	tracker   tracker
	plan      []*instruction
	byID      map[int]*instruction
	// at is the place in plan of the instruction that is shown.
	at int
	// committed tells that the last stage has ended.
	committed bool
	err       error
	closed    bool
}

// instruction is one that is shown, with what its step has written ahead of its turn.
type instruction struct {
	progress.Instruction
	started, shown, done, cached bool
	kept                         []keptLine
}

// keptLine is a line that a step has written.
type keptLine struct {
	text   string
	stderr bool
}

// maxKept bounds the lines that are kept of one step.
const maxKept = 10_000

var _ progress.Renderer = (*stepView)(nil)

// NewSteps makes a renderer that shows instructions and what they write, on two streams as buildah does. Neither is
// closed. name is the image's first name as the user has given it; it may be empty.
func NewSteps(out, errs *os.File, name string) progress.Renderer { return newSteps(out, errs, name) }

func newSteps(out, errs io.Writer, name string) *stepView {
	return &stepView{out: out, errs: errs, name: name, tracker: newTracker(nil), byID: map[int]*instruction{}}
}

// Emit implements progress.Sink. It waits for the write.
func (v *stepView) Emit(e progress.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	switch e := e.(type) {
	case progress.Planned:
		v.begin(e)
	case progress.StepStarted:
		v.tracker.start(e)
		if i := v.byID[e.ID]; i != nil {
			i.started = true
			v.advance()
		} else if e.ID < 0 {
			v.print(true, lines.One(e.Text))
		}
	case progress.StepOutput:
		v.tracker.step(e.ID).stream(e.Stderr).Take(e.Data, func(l lines.Line) { v.output(e.ID, l.Text, e.Stderr) })
	case progress.Explained:
		v.output(e.ID, "why: "+lines.One(e.Text), true)
	case progress.StepDone:
		v.end(e)
	case progress.Warning:
		v.print(true, "WARNING: "+e.String())
	case progress.Note:
		v.note(e)
	case progress.Committed:
		v.commit()
		v.print(false, "--> "+e.ID[:min(len(e.ID), shortID)])
	}
}

// shortID is how many digits of an ID are shown.
const shortID = 12

// note shows a note; one about a name ends the last stage.
func (v *stepView) note(n progress.Note) {
	if n.Tagged == "" {
		v.print(true, lines.One(n.Text))
		return
	}
	v.commit()
	v.print(false, "Successfully tagged "+lines.One(n.Tagged))
}

// commit ends the last stage.
func (v *stepView) commit() {
	if !v.committed && len(v.plan) > 0 {
		v.print(false, strings.TrimSpace(v.plan[len(v.plan)-1].place()+"COMMIT "+lines.One(v.name)))
	}
	v.committed = true
}

// begin shows another plan.
func (v *stepView) begin(p progress.Planned) {
	v.plan, v.byID, v.at = nil, map[int]*instruction{}, 0
	for _, one := range p.Instructions {
		i := &instruction{Instruction: one}
		v.plan = append(v.plan, i)
		if one.IsStep {
			v.byID[one.ID] = i
		}
	}
	v.advance()
}

// advance shows instructions up to the first that isn't done.
func (v *stepView) advance() {
	for ; v.at < len(v.plan); v.at++ {
		i := v.plan[v.at]
		if i.IsStep && !i.started {
			return
		}
		v.show(i)
		if i.IsStep && !i.done {
			return
		}
	}
}

// show shows an instruction and what was kept of it.
func (v *stepView) show(i *instruction) {
	if !i.shown {
		i.shown = true
		v.print(false, i.title())
	}
	for _, l := range i.kept {
		v.print(l.stderr, l.text)
	}
	i.kept = nil
	if i.done && i.cached && i.Number > 1 {
		v.print(false, "--> Using cache")
	}
}

// title is the line that an instruction begins with, as in "[2/2] STEP 3/4: RUN make".
func (i *instruction) title() string {
	return fmt.Sprintf("%sSTEP %d/%d: %s", i.place(), i.Number, i.Total, lines.One(i.Text))
}

// place is what stands before the lines of a stage; empty if there is only one.
func (i *instruction) place() (text string) {
	if i.Platforms != "" {
		text = "[" + lines.One(i.Platforms) + "] "
	}
	if i.Stages > 1 {
		text += fmt.Sprintf("[%d/%d] ", i.Stage, i.Stages)
	}
	return text
}

// output shows or keeps a line.
func (v *stepView) output(id int, text string, stderr bool) {
	i := v.byID[id]
	switch {
	case i == nil, i.shown:
		v.print(stderr, text)
	case len(i.kept) < maxKept:
		i.kept = append(i.kept, keptLine{text, stderr})
	}
}

// end ends a step.
func (v *stepView) end(e progress.StepDone) {
	s, _ := v.tracker.finish(e)
	s.stdout.Flush(func(l lines.Line) { v.output(e.ID, l.Text, false) })
	s.stderr.Flush(func(l lines.Line) { v.output(e.ID, l.Text, true) })
	if i := v.byID[e.ID]; i != nil {
		i.done, i.cached = true, e.Cached
		if e.Err != nil {
			v.show(i)
		}
		v.advance()
	}
}

// Close implements progress.Renderer.
func (v *stepView) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.closed = true
		for _, i := range v.plan {
			if len(i.kept) > 0 {
				v.show(i)
			}
		}
	}
	return v.err
}

// print writes a line. After the first error nothing is written any more, and the build goes on.
func (v *stepView) print(stderr bool, text string) {
	if v.err != nil {
		return
	}
	to := v.out
	if stderr {
		to = v.errs
	}
	if _, err := io.WriteString(to, text+"\n"); err != nil {
		v.err = fmt.Errorf("write progress: %w", err)
	}
}
