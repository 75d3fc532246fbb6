package registry

import (
	"context"
	"time"
)

// firstDelay is the pause before the first retry where none is given.
const firstDelay = time.Second

// Retries say how often what has failed for a reason that may pass is tried again. The zero value says never.
type Retries struct {
	Times int
	// Delay is the pause before each retry; 0: a second, and twice as long each time.
	Delay time.Duration
}

// Do calls f until it succeeds, fails for good or has been tried often enough, and returns its last error. Before each
// retry it calls again, with the pause and the error.
func (r Retries) Do(ctx context.Context, again func(wait time.Duration, err error), f func() error) error {
	wait := r.Delay
	if wait == 0 {
		wait = firstDelay
	}
	for tried := 0; ; tried++ {
		err := f()
		if tried >= r.Times || !MayPass(err) || ctx.Err() != nil {
			return err
		}
		again(wait, err)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		if r.Delay == 0 {
			wait *= 2
		}
	}
}
