package build

import (
	"context"

	"github.com/cooperbuild/cooper/build/progress"
)

// aside is work that no instruction stands for, such as the pull of a base image. It is shown as a step is, with an ID below zero.
type aside struct {
	to progress.Sink
	id int
}

// aside shows the beginning of such work.
func (r *Request) aside(text string) aside {
	a := aside{to: r.Progress, id: -int(r.asides.Add(1))}
	a.to.Emit(progress.StepStarted{ID: a.id, Text: text})
	return a
}

// transfer shows how far it has come.
func (a aside) transfer(what string, done, total int64) {
	a.to.Emit(progress.Transfer{ID: a.id, What: what, Done: done, Total: total})
}

// meter shows what is counted; the caller stops it before the end.
func (a aside) meter(what string, total int64) *progress.Meter {
	return progress.StartMeter(a.to, progress.Transfer{ID: a.id, What: what, Total: total})
}

// end shows how it ended.
func (a aside) end(ctx context.Context, err error) {
	a.to.Emit(progress.StepDone{ID: a.id, Err: shownError(ctx, err)})
}

// giveUp shows that it came to nothing, and that this is no failure.
func (a aside) giveUp() { a.to.Emit(progress.StepDone{ID: a.id, Err: context.Canceled}) }
