package build

import (
	"context"
	"fmt"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/store/images"
)

// buildTarget builds the image of a context target:DIR[#STAGE]: with the same store, cache and machine, but without
// build arguments and without named contexts, so that no circle can come of it.
func (r *resolver) buildTarget(ctx context.Context, where string, platform ocispec.Platform) (images.Found, error) {
	dir, stage := where, ""
	if n := strings.LastIndexByte(where, '#'); n >= 0 {
		dir, stage = where[:n], where[n+1:]
	}
	r.targets++
	sink := targetSink{to: r.req.Progress, first: r.targets * stepsOfTarget, name: where}
	req := Request{
		Context: dir, Target: stage, Platforms: []ocispec.Platform{platform}, Pull: r.req.Pull, NoCache: r.req.NoCache,
		Jobs:       r.req.Jobs,
		SourceDate: r.req.SourceDate, Run: r.req.Run, Registry: r.req.Registry, Store: r.req.Store, Identity: r.req.Identity,
		Progress: sink,
		space:    r.req.space, asides: r.req.asides.WithSink(sink),
	}
	res, err := buildIn(ctx, req, r.depot)
	if err != nil {
		return images.Found{}, fmt.Errorf("build target:%s: %w", where, err)
	}
	return r.depot.Images.Find(ctx, res.ImageID.String())
}

// stepsOfTarget is more than the steps of any build.
const stepsOfTarget = 1 << 24

// targetSink shows the steps of a build within a build: with IDs of their own, and where they belong.
type targetSink struct {
	to    progress.Sink
	first int
	name  string
}

var _ progress.Sink = targetSink{}

// Emit implements progress.Sink.
func (s targetSink) Emit(e progress.Event) {
	switch e := e.(type) {
	case progress.StepStarted:
		e.ID += s.first
		e.Name = strings.TrimSpace("[" + s.name + "] " + e.Name)
		s.to.Emit(e)
	case progress.StepOutput:
		e.ID += s.first
		s.to.Emit(e)
	case progress.Transfer:
		e.ID += s.first
		s.to.Emit(e)
	case progress.StepDone:
		e.ID += s.first
		s.to.Emit(e)
	default:
		s.to.Emit(e)
	}
}
