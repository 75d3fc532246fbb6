// Package attempts begins builds anew where others take away what they stand on.
package attempts

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/progress"
)

// most is how often a build starts anew. Each attempt is shorter than the one before by the steps that the cache still
// has.
const most = 10

// StepsPerBuild is more than the steps of all attempts of a build, and stepsPerAttempt more than those of one.
const (
	StepsPerBuild   = 1 << 24
	stepsPerAttempt = 1 << 20
)

// Persist attempts a build until nobody takes away what it stands on during an attempt, or the attempt is final.
func Persist[R any](ctx context.Context, to progress.Sink,
	build func(to progress.Sink) (res R, final bool, err error)) (R, error) {
	shown := to
	for attempt := 1; ; attempt++ {
		res, final, err := build(shown)
		if !rootfs.Lost(err) || final || attempt == most || ctx.Err() != nil {
			return res, err
		}
		why := "another program has removed layers that this build uses from the store"
		if errors.As(err, new(*rootfs.BrokenCacheError)) {
			why = "a cache has not got the layers that it promised"
		}
		to.Emit(progress.Note{Text: why + ": building again"})
		shown = progress.Part{To: to, First: attempt * stepsPerAttempt, Again: true}
	}
}
