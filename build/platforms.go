package build

import (
	"context"

	"github.com/cooperbuild/cooper/build/inputs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// plan plans the image, or one for each platform, in one graph. targets are the stages that the images are made from.
func (b *builder) plan(ctx context.Context, df inputs.File) (graph *plan.Graph, targets []*plan.Stage, err error) {
	o := b.planOptions(df.Ignore)
	if len(b.req.Platforms) < 2 {
		graph, err := plan.Make(ctx, df.Parsed, o)
		if err != nil {
			return nil, nil, err
		}
		b.stages = len(graph.Stages)
		return graph, []*plan.Stage{graph.Target}, nil
	}
	warn, seen := o.Warn, map[dockerfile.Warning]bool{}
	o.Warn = func(w dockerfile.Warning) {
		if !seen[w] {
			seen[w] = true
			warn(w)
		}
	}
	var plans []*plan.Graph
	for _, platform := range b.req.Platforms {
		o.Platform = platform
		g, err := plan.Make(ctx, df.Parsed, o)
		if err != nil {
			return nil, nil, err
		}
		b.stages = len(g.Stages)
		plans = append(plans, g)
	}
	return plan.Combine(plans, b.req.Platforms)
}
