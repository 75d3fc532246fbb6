package plan

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// Combine puts the plans of one file for several platforms into one graph, in which equal steps of several plans are
// one step: for example those of a stage FROM --platform=$BUILDPLATFORM before TARGETARCH is used. wanted has the
// platform of each plan. targets has the target stage of each plan, in the order of the plans; the graph's own Target
// is the first. The plans are not changed.
func Combine(plans []*Graph, wanted []ocispec.Platform) (graph *Graph, targets []*Stage, err error) {
	c := combiner{
		graph: &Graph{}, steps: map[[sha256.Size]byte]*Step{},
		images: map[*imagebuilder.Image][sha256.Size]byte{},
	}
	for n, g := range plans {
		target, err := c.add(g, wanted[n])
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, target)
	}
	for _, s := range c.graph.Steps {
		s.Platforms = shownPlatforms(s)
	}
	c.graph.Target = targets[0]
	c.graph.SourceDate = plans[0].SourceDate
	return c.graph, targets, nil
}

type combiner struct {
	graph *Graph
	// steps are the steps of graph by their identity.
	steps map[[sha256.Size]byte]*Step
	// images are the digests of configs, kept because several steps share one config.
	images map[*imagebuilder.Image][sha256.Size]byte
}

// add adds one plan and returns its target.
func (c *combiner) add(g *Graph, wanted ocispec.Platform) (*Stage, error) {
	steps, stages := map[*Step]*Step{}, map[*Stage]*Stage{}
	for _, old := range g.Steps {
		s := old.with(steps)
		key, err := c.identity(s)
		if err != nil {
			return nil, err
		}

		same, ok := c.steps[key]
		if !ok {
			st, known := stages[old.Stage]
			if !known {
				st = &Stage{Index: old.Stage.Index, Name: old.Stage.Name, Image: old.Stage.Image}
				stages[old.Stage] = st
			}
			s.ID, s.Stage = len(c.graph.Steps), st
			c.graph.Steps = append(c.graph.Steps, s)
			c.steps[key] = s
			same = s
		}

		steps[old] = same
		same.WantedBy = append(same.WantedBy, wanted)
	}

	for old, st := range stages {
		st.Last = steps[old.Last]
	}
	for _, old := range g.Stages {
		if st, ok := stages[old]; ok {
			c.graph.Stages = append(c.graph.Stages, st)
		}
	}

	if target, ok := stages[g.Target]; ok {
		return target, nil
	}
	// The stage has its own Image, for its platform, even if all its steps are shared with another plan.
	return &Stage{Index: g.Target.Index, Name: g.Target.Name, Last: steps[g.Target.Last], Image: g.Target.Image}, nil
}

// with gives a copy of a step of one graph for another graph: steps gives the step there for each step here.
func (s *Step) with(steps map[*Step]*Step) *Step {
	c := *s
	c.Parent, c.Deps = steps[s.Parent], nil
	for _, d := range s.Deps {
		c.Deps = append(c.Deps, steps[d])
	}
	switch op := s.Op.(type) {
	case *Copy:
		o := *op
		o.From.Step = steps[op.From.Step]
		c.Op = &o
	case *Run:
		o := *op
		o.Mounts = nil
		for _, m := range op.Mounts {
			m.From.Step = steps[m.From.Step]
			o.Mounts = append(o.Mounts, m)
		}
		c.Op = &o
	}
	return &c
}

// identity gives a digest of all fields that decide what a step does, with the IDs of the steps that it refers to.
func (c *combiner) identity(s *Step) (key [sha256.Size]byte, err error) {
	image, ok := c.images[s.Image]
	if !ok {
		text, err := json.Marshal(s.Image)
		if err != nil {
			return key, fmt.Errorf("compare configs: %w", err)
		}
		image = sha256.Sum256(text)
		c.images[s.Image] = image
	}

	bare := s.with(nil)
	bare.ID, bare.Stage, bare.Image = 0, nil, nil
	refs := []int{s.Stage.Index, idOf(s.Parent)}
	for _, d := range s.Deps {
		refs = append(refs, idOf(d))
	}

	switch op := s.Op.(type) {
	case *Copy:
		refs = append(refs, idOf(op.From.Step))
	case *Run:
		for _, m := range op.Mounts {
			refs = append(refs, idOf(m.From.Step))
		}
	}

	bare.Deps = nil
	text, err := json.Marshal(bare)
	if err != nil {
		return key, fmt.Errorf("compare steps: %w", err)
	}

	return sha256.Sum256(fmt.Appendf(nil, "%T %d %q %x %s", s.Op, refs, s.Stage.Name, image, text)), nil
}

func idOf(s *Step) int {
	if s == nil {
		return -1
	}
	return s.ID
}

// shownPlatforms gives the text for Step.Platforms: the platform of the step's programs, and that of the image if the
// step is for only one image and that image's platform is another, as in "linux/amd64->arm64".
func shownPlatforms(s *Step) string {
	have, want := s.Image.Platform, s.WantedBy[0]
	if have.OS == "" {
		have = want
	}
	have = platforms.Normalize(have)
	text := platforms.FormatAll(have)
	switch {
	case len(s.WantedBy) > 1 || text == platforms.FormatAll(want):
		return text
	case have.OS != want.OS:
		return text + "->" + platforms.FormatAll(want)
	case want.Variant != "":
		return text + "->" + want.Architecture + "/" + want.Variant
	}
	return text + "->" + want.Architecture
}
