package progress

import (
	"context"
	"sync/atomic"
)

// Asides shows work that belongs to no instruction, such as the pull of a base image, in the way of a step, with an ID
// below zero. Its copies share the counter of IDs. It is safe for concurrent use.
type Asides struct {
	to   Sink
	last *atomic.Int64
}

// NewAsides shows such work to a sink.
func NewAsides(to Sink) Asides { return Asides{to: to, last: new(atomic.Int64)} }

// WithSink gives Asides that show to another sink, with the same counter of IDs.
func (a Asides) WithSink(to Sink) Asides {
	a.to = to
	return a
}

// Begin shows that a piece of work begins; text says what it is.
func (a Asides) Begin(text string) Aside {
	shown := Aside{to: a.to, id: -int(a.last.Add(1))}
	shown.to.Emit(StepStarted{ID: shown.id, Text: text})
	return shown
}

// Aside is one piece of such work.
type Aside struct {
	to Sink
	id int
}

// Transfer shows how far moving bytes has come: done of total. what says what is moved.
func (a Aside) Transfer(what string, done, total int64) {
	a.to.Emit(Transfer{ID: a.id, What: what, Done: done, Total: total})
}

// Meter starts a meter of bytes, of which total are expected. The caller stops it before it calls End.
func (a Aside) Meter(what string, total int64) *Meter {
	return StartMeter(a.to, Transfer{ID: a.id, What: what, Total: total})
}

// Note shows a text beside the work.
func (a Aside) Note(text string) { a.to.Emit(Note{Text: text}) }

// End shows that the work ended, with err, or as canceled if the context was.
func (a Aside) End(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		err = context.Canceled
	}
	a.to.Emit(StepDone{ID: a.id, Err: err})
}

// GiveUp shows that the work was given up, which isn't a failure.
func (a Aside) GiveUp() { a.to.Emit(StepDone{ID: a.id, Err: context.Canceled}) }
