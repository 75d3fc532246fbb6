package steps

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/platforms"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
)

// Done gives the root file system of a step that has ended.
type Done = func(*plan.Step) *rootfs.Root

// Roots makes root file systems.
type Roots interface {
	// Make does the work of a step on the root below it, or finds the result in the cache.
	Make(ctx context.Context, s *plan.Step, below *rootfs.Root, w rootfs.Work) (r *rootfs.Root, cached bool, err error)
	// Image is the root of an image of the store.
	Image(img images.Found) *rootfs.Root
}

// Identity knows the user who builds, and the IDs that are mapped for the build.
type Identity interface {
	// ExplainUnmapped adds a hint to an error about an ID that is not mapped: how to map it.
	ExplainUnmapped(ctx context.Context, err error) error
}

// Files makes the work of steps that put files into a root.
type Files interface {
	Workdir(op *plan.Workdir) rootfs.Work
	Copy(s *plan.Step, op *plan.Copy, done Done) rootfs.Work
}

// Runs makes the work that RUN steps do on a root.
type Runs interface {
	Work(s *plan.Step, op *plan.Run, done Done) rootfs.Work
}

// Contexts opens the contexts that steps take files from, which may take a download.
type Contexts interface {
	Open(ctx context.Context, from []plan.Input) error
}

// Bases gives the base images that were found when the build was planned.
type Bases interface {
	Image(id string) images.Found
}

var (
	_ Roots    = (*rootfs.Roots)(nil)
	_ Identity = rootfs.Identity{}
)

// Options name the rooms that carry out the steps of a build.
type Options struct {
	Roots    Roots
	Identity Identity
	Files    Files
	Runs     Runs
	Contexts Contexts
	Bases    Bases
	// Errors adds to an error the place of the step that has failed.
	Errors Errors
	// Names makes the names of steps that people see.
	Names    Names
	Progress progress.Sink
}

// Room carries out the steps of one build. It is safe for concurrent use.
type Room struct{ Options }

// New makes the room for one build.
func New(o Options) Room { return Room{o} }

// Do carries out one step of the plan. An error is a *StepError, or the cause of the end of ctx.
func (r Room) Do(ctx context.Context, s *plan.Step, done Done) (*rootfs.Root, error) {
	var below *rootfs.Root
	if s.Parent != nil {
		below = done(s.Parent)
	}
	var w rootfs.Work
	switch op := s.Op.(type) {
	case *plan.Config:
		return below, nil
	case *plan.Base:
		return r.base(s, op), nil
	case *plan.Workdir:
		w = r.Files.Workdir(op)
	case *plan.Copy:
		w = r.Files.Copy(s, op, done)
	case *plan.Run:
		w = r.Runs.Work(s, op, done)
	default:
		return nil, fmt.Errorf("step %d: no way to carry out a %T", s.ID, op)
	}
	r.begin(s)
	var root *rootfs.Root
	cached := false
	err := r.Contexts.Open(ctx, inputsOf(s))
	if err == nil {
		root, cached, err = r.Roots.Make(ctx, s, below, w)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // the cause says more than the error of the step
		} else {
			err = r.Errors.Of(s, r.Identity.ExplainUnmapped(ctx, err))
		}
	}
	r.Progress.Emit(progress.StepDone{ID: s.ID, Cached: cached, Err: shownError(ctx, err)})
	return root, err
}

// begin shows that a step begins.
func (r Room) begin(s *plan.Step) {
	r.Progress.Emit(progress.StepStarted{ID: s.ID, Name: r.Names.Of(s), Text: s.Text, For: wantedBy(s)})
}

// wantedBy are the platforms of the images that need a step, as progress shows them.
func wantedBy(s *plan.Step) (all []string) {
	for _, p := range s.WantedBy {
		all = append(all, platforms.FormatAll(p))
	}
	return all
}

// base is the root of an image or of scratch.
func (r Room) base(s *plan.Step, op *plan.Base) *rootfs.Root {
	if op.Ref == "" {
		return rootfs.Scratch()
	}
	r.begin(s)
	r.Progress.Emit(progress.StepDone{ID: s.ID, Cached: true, Reason: "in the store"})
	return r.Roots.Image(r.Bases.Image(op.Image.ID))
}

// inputsOf are the stages, images and contexts that a step takes files from.
func inputsOf(s *plan.Step) (from []plan.Input) {
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

// shownError is the error that the display shows beside a step. The display names the step, so the place is left out of
// a *StepError. A step that was stopped by the failure of another, or by a signal, is only shown as cancelled.
func shownError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || rootfs.Lost(err) { // another attempt makes a lost layer again
		return context.Canceled
	}
	if e := new(StepError); errors.As(err, &e) {
		return e.Err
	}
	return err
}
