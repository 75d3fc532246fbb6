package build

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/rootfs"
	"github.com/cooperbuild/cooper/build/store"
)

// do carries out one step of the plan.
func (b *builder) do(ctx context.Context, s *plan.Step, done func(*plan.Step) *rootfs.Root) (*rootfs.Root, error) {
	var below *rootfs.Root
	if s.Parent != nil {
		below = done(s.Parent)
	}
	var w rootfs.Work
	switch op := s.Op.(type) {
	case *plan.Config:
		return below, nil
	case *plan.Base:
		return b.base(s, op), nil
	case *plan.Workdir:
		w = b.files.Workdir(op)
	case *plan.Copy:
		w = b.files.Copy(s, op, done)
	case *plan.Run:
		w = b.runs.Work(s, op, done)
	default:
		return nil, fmt.Errorf("step %d: no way to carry out a %T", s.ID, op)
	}
	b.req.Progress.Emit(progress.StepStarted{ID: s.ID, Name: b.stepName(s), Text: s.Text})
	var r *rootfs.Root
	cached := false
	err := b.contexts.Open(ctx, stepInputs(s))
	if err == nil {
		r, cached, err = b.roots.Make(ctx, s, below, w)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // it says more than what came of the step
		} else {
			err = stepError(b.store, s, b.roots.ExplainUnmapped(ctx, err))
		}
	}
	b.req.Progress.Emit(progress.StepDone{ID: s.ID, Cached: cached, Err: shownError(ctx, err)})
	return r, err
}

// stepInputs is where a step takes files from.
func stepInputs(s *plan.Step) (from []plan.Input) {
	switch op := s.Op.(type) {
	case *plan.Copy:
		from = append(from, op.From)
	case *plan.Run:
		for _, m := range op.Mounts {
			from = append(from, m.From)
		}
	}
	return from
}

// shownError is what is shown of an error where it came up: that of a step without its place, and of one that was
// stopped for something else, as by another's failure or by a signal, only that it was.
func shownError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || lost(err) { // what is lost is made again
		return context.Canceled
	}
	if e := new(StepError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// stepName places a step for people: "[builder 2/5]", "[stage-1 2/5]", or "[2/5]" where there is one stage only.
// In a build for several platforms what the step is for comes first.
func (b *builder) stepName(s *plan.Step) string {
	var words []string
	if s.Platforms != "" {
		words = append(words, s.Platforms)
	}
	switch {
	case s.Stage.Index < 0:
		if len(words) == 0 {
			return ""
		}
		return "[" + words[0] + "]"
	case s.Stage.Name != strconv.Itoa(s.Stage.Index):
		words = append(words, s.Stage.Name)
	case b.stages > 1:
		words = append(words, "stage-"+s.Stage.Name)
	}
	return "[" + strings.Join(append(words, fmt.Sprintf("%d/%d", s.Number, s.Total)), " ") + "]"
}

func stepError(st *store.Store, s *plan.Step, err error) error {
	if other := new(StepError); errors.As(err, &other) || errors.Is(err, context.Canceled) {
		return err // another step's failure, for which this one was cancelled
	}
	err = machineError(st, err)
	e := &StepError{Platforms: s.Platforms, Stage: s.Stage.Name, Step: fmt.Sprintf("%d/%d", s.Number, s.Total),
		Location: s.Location, Text: s.Text, Err: err}
	if exit := new(ExitError); errors.As(err, &exit) {
		e.ExitCode = exit.Code
	}
	return e
}

// base is the root of an image or of scratch.
func (b *builder) base(s *plan.Step, op *plan.Base) *rootfs.Root {
	if op.Ref == "" {
		return rootfs.Scratch()
	}
	img := b.resolver.found[op.Image.ID]
	b.req.Progress.Emit(progress.StepStarted{ID: s.ID, Name: b.stepName(s), Text: s.Text})
	b.req.Progress.Emit(progress.StepDone{ID: s.ID, Cached: true, Reason: "in the store"})
	return b.roots.Image(img)
}
