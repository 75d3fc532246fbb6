package plan

import (
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// stepList puts steps into the graph.
type stepList struct {
	file   *dockerfile.File
	images *imageSet
	// platform is that of the image.
	platform ocispec.Platform
	graph    *Graph
	// hidden has, by the references of images that files are only copied from, their base steps.
	hidden map[string]*Step
}

// add puts a step at the end of a stage. counted tells whether the step gets a Number.
func (l *stepList) add(st *stage, s *Step, counted bool) {
	s.ID = len(l.graph.Steps)
	s.Parent, s.Fresh = st.last, st.fresh
	if counted {
		st.counted++
		s.Number = st.counted
	}
	s.addDep(s.Parent)
	for _, other := range st.after {
		s.addDep(other.out.Last)
	}
	switch op := s.Op.(type) {
	case *Copy:
		s.addDep(op.From.Step)
	case *Run:
		for _, m := range op.Mounts {
			s.addDep(m.From.Step)
		}
	}
	l.graph.Steps = append(l.graph.Steps, s)
	st.last = s
}

func (s *Step) addDep(dep *Step) {
	if dep != nil && !slices.Contains(s.Deps, dep) {
		s.Deps = append(s.Deps, dep)
	}
}

// input gives the Input for an origin. For an image that no stage starts from it adds a base step, so it must be called
// before the step that uses the input is added.
func (l *stepList) input(o origin) Input {
	switch o.kind {
	case originContext:
		return Input{Kind: InputContext, Name: o.name}
	case originStage:
		return Input{Kind: InputStep, Name: o.name, Step: o.stage.out.Last}
	case originImage:
		return Input{Kind: InputImage, Name: o.name, Step: l.hiddenBase(o)}
	case originScratch:
		return Input{Kind: InputImage, Name: scratch, Step: l.hiddenBase(o)}
	}
	return Input{}
}

func (l *stepList) hiddenBase(o origin) *Step {
	key := o.ref
	if s, ok := l.hidden[key]; ok {
		return s
	}

	name := o.ref
	if o.place {
		name = o.name
	}

	op, image := &Base{Ref: o.ref}, imagebuilder.Scratch(l.platform)
	if o.kind == originScratch {
		name = scratch
	} else {
		op.Image = l.images.found[imageKey(o.ref, l.platform)]
		image = op.Image.Image
	}

	s := &Step{
		ID: len(l.graph.Steps), Stage: &Stage{Index: -1, Name: name}, Location: dockerfile.Location{File: l.file.Name},
		Text: "FROM " + name, Op: op, Image: &image,
	}

	if o.kind == originImage {
		s.Number, s.Total = 1, 1
	}
	s.Stage.Last, s.Stage.Image = s, image
	l.graph.Steps = append(l.graph.Steps, s)
	l.hidden[key] = s
	return s
}
