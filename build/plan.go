package build

import (
	"context"
	"fmt"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/sourcedate"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// planned is the outcome of planning: the graph of steps and what the build has to know of it.
type planned struct {
	graph *plan.Graph
	// targets are the stages that the images are made from.
	targets []*plan.Stage
	// stages is how many stages the plan for one image has.
	stages int
	// date replaces the times of files and records in the images; nil: they stay as they are.
	date *layer.Date
}

// makePlan plans the image, or one for each platform, in one graph.
func makePlan(ctx context.Context, set settings, from opened, bases plan.Resolver) (p planned, err error) {
	df := from.dockerfile
	o := set.planOptions(df, bases)
	o.ContextDate = sourcedate.OfContext(from.contexts, set.Progress)
	if len(set.Platforms) < 2 {
		if p.graph, err = plan.Make(ctx, df.Parsed, o); err != nil {
			return planned{}, err
		}
		p.targets, p.stages = []*plan.Stage{p.graph.Target}, len(p.graph.Stages)
	} else if err := p.combine(ctx, set, df, o); err != nil {
		return planned{}, err
	}
	asked := sourcedate.Asked{Timestamp: set.Timestamp, SourceDate: set.SourceDate, Args: set.BuildArgs}
	p.date, err = asked.Date(p.graph.SourceDate)
	return p, err
}

// withPlatforms are the settings with the platforms to build for, where these are all that there are images for.
func (s settings) withPlatforms(ctx context.Context, df inputs.File, from *bases.Resolver) (settings, error) {
	if !s.AllPlatforms {
		return s, nil
	}
	var err error
	if s.Platforms, err = from.Common(ctx, df.Parsed, s.planOptions(df, nil)); err != nil {
		return s, fmt.Errorf("--all-platforms: %w", err)
	}
	return s, CheckOutputs(s.Request)
}

// combine plans for several platforms. Warnings about the Dockerfile, which each plan repeats,
// are shown once.
func (p *planned) combine(ctx context.Context, set settings, df inputs.File, o plan.Options) (err error) {
	warn, seen := o.Warn, map[dockerfile.Warning]bool{}
	o.Warn = func(w dockerfile.Warning) {
		if !seen[w] {
			seen[w] = true
			warn(w)
		}
	}
	var plans []*plan.Graph
	for _, platform := range set.Platforms {
		o.Platform = platform
		g, err := plan.Make(ctx, df.Parsed, o)
		if err != nil {
			return err
		}
		p.stages = len(g.Stages)
		plans = append(plans, g)
	}
	p.graph, p.targets, err = plan.Combine(plans, set.Platforms)
	return err
}

func (s settings) planOptions(df inputs.File, bases plan.Resolver) plan.Options {
	o := plan.Options{
		Target: s.Target, BuildArgs: s.BuildArgs, Proxies: s.Run.Proxies, BuildPlatform: runstep.MachinePlatform(),
		Contexts: s.Contexts, Labels: s.Labels, Changes: s.Changes, Fresh: s.Fresh, Insecure: s.Run.Insecure,
		Devices: s.Run.Lent.AllowDevices, AllDevices: s.Run.Lent.AllowAllDevices,
		HostNetwork: s.Run.HostNetwork,
		Resolver:    bases, Sources: s.SourcePolicy, Warn: func(w dockerfile.Warning) { s.Progress.Emit(inputs.Warning(w)) },
	}
	if len(s.Platforms) > 0 {
		o.Platform = s.Platforms[0]
	}
	if df.Ignore != nil {
		o.Ignore = df.Ignore
	}
	return o
}
