package bakecmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/internal/bakefile"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Mode says what a failed target means for the others.
type Mode string

// The modes. With DeferOutput nothing is written or named before all targets are built.
const (
	FailFast    Mode = "fail-fast"
	DeferError  Mode = "defer-error"
	DeferOutput Mode = "defer-output"
)

// Jobs say how targets are built: how many at once, any number if it is 0, and until when.
type Jobs struct {
	Mode     Mode
	Parallel int
}

// ParseJobs reads --jobs: N, or MODE[,parallel=N].
func ParseJobs(text string) (j Jobs, err error) {
	j.Mode = FailFast
	if text == "" {
		return j, nil
	}
	for field := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(field), "=")
		if _, err := strconv.Atoi(key); err == nil {
			key, value = "parallel", key
		} else if !ok {
			key, value = "mode", key
		}
		switch {
		case key == "parallel":
			if j.Parallel, err = strconv.Atoi(value); err != nil || j.Parallel < 0 {
				return j, command.Usagef("--jobs=%s: %q must be a number of targets", text, value)
			}
		case key == "mode" && (Mode(value) == FailFast || Mode(value) == DeferError || Mode(value) == DeferOutput):
			j.Mode = Mode(value)
		default:
			return j, command.Usagef("--jobs=%s: must be a number, %s, %s or %s, and parallel=N", text, FailFast, DeferError,
				DeferOutput)
		}
	}
	return j, nil
}

// errAborted is why a target isn't built: one that it needs has failed, or any with FailFast.
var errAborted = errors.New("not built, since another target has failed")

// Run calls build for each target, at the same time for those that don't need each other; a target that is linked to
// others comes after them. The error has a line for each target that has failed.
func (j Jobs) Run(ctx context.Context, targets []bakefile.Target,
	build func(context.Context, bakefile.Target) error) error {
	r := run{outcomes: map[string]*outcome{}}
	if j.Parallel > 0 {
		r.slots = make(chan struct{}, j.Parallel)
	}
	for _, t := range targets {
		r.outcomes[t.Name] = &outcome{done: make(chan struct{})}
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var all sync.WaitGroup
	for _, t := range targets {
		all.Go(func() {
			o := r.outcomes[t.Name]
			o.err = guard.Call(func() error { return r.one(ctx, t, build) })
			close(o.done)
			if o.err != nil && j.Mode != DeferError {
				stop(errAborted)
			}
		})
	}
	all.Wait()
	var failed []error
	for _, t := range targets {
		if err := r.outcomes[t.Name].err; err != nil && !errors.Is(err, errAborted) {
			if len(targets) > 1 {
				err = fmt.Errorf("target %s: %w", t.Name, err)
			}
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// run is one call of Run.
type run struct {
	outcomes map[string]*outcome
	// slots has an element for each target that is being built; nil: there may be any number.
	slots chan struct{}
}

// outcome is that of a target, once done is closed.
type outcome struct {
	done chan struct{}
	err  error
}

// one builds a target once all that it is linked to are built.
func (r run) one(ctx context.Context, t bakefile.Target, build func(context.Context, bakefile.Target) error) error {
	for _, name := range t.Links {
		other := r.outcomes[name]
		if other == nil {
			return fmt.Errorf("there is no target %s to link to", name)
		}
		select {
		case <-other.done:
			if other.err != nil {
				return errAborted
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if r.slots != nil {
		select {
		case r.slots <- struct{}{}:
			defer func() { <-r.slots }()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return build(ctx, t)
}
