package progress

import (
	"context"
	"sync/atomic"
)

// Asides shows work that no instruction stands for, such as the pull of a base image: as a step is shown, with an ID
// below zero. Copies of it count on together. It is safe for concurrent use.
type Asides struct {
	to   Sink
	last *atomic.Int64
}

// NewAsides shows such work to a sink.
func NewAsides(to Sink) Asides { return Asides{to: to, last: new(atomic.Int64)} }

// WithSink counts on, and shows to another sink.
func (a Asides) WithSink(to Sink) Asides {
	a.to = to
	return a
}

// Begin shows that such work begins.
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

// Transfer shows how far it has come, in bytes.
func (a Aside) Transfer(what string, done, total int64) {
	a.to.Emit(Transfer{ID: a.id, What: what, Done: done, Total: total})
}

// Meter shows what is counted; the caller stops it before the end.
func (a Aside) Meter(what string, total int64) *Meter {
	return StartMeter(a.to, Transfer{ID: a.id, What: what, Total: total})
}

// End shows how it ended: as canceled if the context has.
func (a Aside) End(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		err = context.Canceled
	}
	a.to.Emit(StepDone{ID: a.id, Err: err})
}

// GiveUp shows that it came to nothing, and that this is no failure.
func (a Aside) GiveUp() { a.to.Emit(StepDone{ID: a.id, Err: context.Canceled}) }
