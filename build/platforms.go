package build

import (
	"context"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/inputs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/rootfs"
	"github.com/cooperbuild/cooper/build/store"
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

// made is a finished image.
type made struct {
	image  export.Image
	record store.ImageRecord
	// files is the root that the image has.
	files *rootfs.Root
	// id is the image's in the store.
	id string
}

// indexOf is the index of images for several platforms.
func (b *builder) indexOf(images []made, names []string) store.IndexRecord {
	index := store.IndexRecord{Names: names, Format: b.req.Format}
	for _, m := range images {
		platform := m.image.Platform
		platform.OSFeatures = slices.Clone(platform.OSFeatures)
		index.Images = append(index.Images, store.IndexedImage{ID: m.id, Platform: platform})
		if m.record.Created.After(index.Created) {
			index.Created = m.record.Created
		}
	}
	return index
}

// CheckOutputs refuses outputs that can't hold what is going to be built.
func CheckOutputs(platforms []ocispec.Platform, specs []export.Spec) error {
	for _, spec := range specs {
		if len(platforms) > 1 && (spec.Type == export.TypeDocker || spec.Type == export.TypeTar) {
			return fmt.Errorf("--output %s: %w", spec.Dest, export.ErrManyPlatforms)
		}
	}
	return nil
}
