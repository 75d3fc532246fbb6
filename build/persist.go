package build

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/rootfs"
	"github.com/cooperbuild/cooper/build/store"
)

// maxAttempts is how often a build starts anew if other programs remove layers under it. What the cache still has makes
// each shorter.
const maxAttempts = 10

// lost tells whether an error comes of something in the store that was removed while the build used it.
func lost(err error) bool {
	return errors.As(err, new(*rootfs.GoneError)) || store.Unknown(err)
}

// persist has a request built until nothing is lost under it, or what it has done can't be taken back.
func persist(ctx context.Context, req Request, build func(Request) (res Result, final bool, err error)) (Result,
	error) {
	to := req.Progress
	for attempt := 1; ; attempt++ {
		res, final, err := build(req)
		if !lost(err) || final || attempt == maxAttempts || ctx.Err() != nil {
			return res, err
		}
		to.Emit(progress.Note{Text: "another program has removed layers that this build uses from the store: building again"})
		req.Progress = afresh{to: to, attempt: attempt}
	}
}

// afresh shows an attempt after the first: steps have numbers of their own, and what was said of the Dockerfile isn't
// said again.
type afresh struct {
	to      progress.Sink
	attempt int
}

// stepsPerAttempt is more than the steps of a build.
const stepsPerAttempt = 1 << 20

func (a afresh) Emit(e progress.Event) {
	offset := a.attempt * stepsPerAttempt
	switch e := e.(type) {
	case progress.StepStarted:
		e.ID += offset
		a.to.Emit(e)
	case progress.StepOutput:
		e.ID += offset
		a.to.Emit(e)
	case progress.Transfer:
		e.ID += offset
		a.to.Emit(e)
	case progress.StepDone:
		e.ID += offset
		a.to.Emit(e)
	case progress.Warning:
	default:
		a.to.Emit(e)
	}
}
