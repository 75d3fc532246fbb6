package plan

import (
	"errors"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// staging makes the steps of one stage after the other.
type staging struct {
	text
	opts   Options
	aim    aim
	args   *arguments
	images *imageSet
	steps  *stepList
	budget *budget
}

// plan makes the steps of one stage. The stages that it takes files from were planned before.
func (g *staging) plan(st *stage) error {
	st.out = &Stage{Index: st.index, Name: st.name()}
	st.once = map[string][]parser.Range{}
	st.fresh = slices.ContainsFunc(g.opts.Fresh, st.called)
	g.steps.graph.Stages = append(g.steps.graph.Stages, st.out)
	total := countSteps(st)
	first := len(g.steps.graph.Steps)
	g.start(st)
	if err := g.budget.hold(variableBytes*len(st.env.names) + stringBytes*len(st.args)); err != nil {
		return g.file.NewError(st.loc, err.Error(), "")
	}

	if err := g.aim.checkStage(st); err != nil {
		return err
	}
	for _, in := range st.commands {
		if err := g.instruction(st, in); err != nil {
			return g.fault(in, err)
		}
	}

	for _, s := range g.steps.graph.Steps[first:] {
		if s.Stage == st.out {
			s.Total = total
		}
	}
	st.out.Last = st.last
	st.out.Image = st.image.Share()
	return nil
}

func countSteps(st *stage) int {
	total := 0
	if st.base.kind == originImage || st.base.kind == originContext {
		total++
	}
	for _, in := range st.commands {
		switch in.Command.(type) {
		case *instructions.AddCommand, *instructions.CopyCommand, *instructions.RunCommand, *instructions.WorkdirCommand:
			total++
		}
	}
	return total
}

// start sets the config, the variables and the parent step that the stage begins with.
func (g *staging) start(st *stage) {
	if st.base.kind == originStage {
		g.startOn(st, st.base.stage)
		return
	}

	step := &Step{Stage: st.out, Location: st.loc, Op: &Base{}, Text: "FROM " + st.base.name}
	switch st.base.kind {
	case originImage:
		key := imageKey(st.base.ref, st.platform)
		base := g.images.found[key]
		_, st.unknownBase = g.images.unknown[key]
		step.Op = &Base{Ref: st.base.ref, Image: base}
		st.image.Image = base.Image
		if !st.replaced { // a stage that a named context replaces is that image, with its ONBUILD for the stages on top
			st.image.Image = st.image.WithoutOnBuild()
		}
		if st.image.Platform.OS == "" || st.image.Platform.Architecture == "" {
			st.image.Platform = st.platform
		}
	case originContext:
		st.image.Image = imagebuilder.Scratch(st.platform).WithWorkdir("/")
	default: // as in BuildKit the platform of scratch is the image's, whatever --platform of the FROM says
		st.image.Image = imagebuilder.Scratch(g.aim.image).WithWorkdir("/")
	}

	if _, ok := st.image.Env("PATH"); !ok {
		st.image.SetEnv("PATH", imagebuilder.DefaultPath)
	}
	if st.image.Config.WorkingDir != "" {
		st.image.Image = st.image.WithWorkdir(st.image.Dir())
	}

	g.opts.Changes.begin(&st.image)
	st.env = newVariables(st.image.Config.Env)
	step.Image = st.share()
	g.steps.add(st, step, st.base.kind == originImage)
	if st.base.kind == originContext {
		g.steps.add(st, &Step{
			Stage: st.out, Location: st.loc, Image: st.share(), Text: "FROM " + st.base.name, CreatedBy: "FROM " +
				st.base.name,
			Op: &Copy{From: Input{Kind: InputContext, Name: st.base.name}, Sources: []string{"/"}, Dest: "/"},
		}, true)
	}
}

// startOn is start for a stage that is based on another one.
func (g *staging) startOn(st, below *stage) {
	st.image.Image = below.image.WithoutOnBuild()
	g.opts.Changes.begin(&st.image)
	st.env, st.args = below.env.clone(), slices.Clone(below.args)
	for _, entry := range g.opts.Changes.Env {
		name, value, _ := strings.Cut(entry, "=")
		st.env.set(name, value)
	}
	st.hasWorkdir, st.unknownBase = below.hasWorkdir, below.unknownBase
	st.last = below.last
}

// fault gives an error the location of its instruction.
func (g *staging) fault(in instruction, err error) error {
	var placed *dockerfile.Error
	if errors.As(err, &placed) {
		return err
	}
	loc, message, hint := g.file.Location(in.Location()), err.Error(), ""
	var h *hinted
	if errors.As(err, &h) {
		hint = h.hint
	}
	if in.onBuild {
		message = "ONBUILD instruction of the base: " + message
	}
	return g.file.NewError(loc, message, hint)
}

// instruction makes the step of one instruction.
func (g *staging) instruction(st *stage, in instruction) error {
	lint := g.lint.at(in.Comments())
	lint.open = st.unknownBase
	x := expanding{staging: g, stage: st, lint: lint, in: in}
	x.text = x.show()
	switch c := in.Command.(type) {
	case *instructions.RunCommand:
		return running{x}.run(c)
	case *instructions.CopyCommand:
		return copying{expanding: x}.copyFiles(c)
	case *instructions.AddCommand:
		return copying{expanding: x}.addFiles(c)
	case *instructions.WorkdirCommand:
		return configuring{x}.workdir(c)
	}
	createdBy, err := configuring{x}.config()
	if err != nil {
		return err
	}
	x.step(&Config{}, createdBy, false)
	return x.budget.hold(len(createdBy))
}

// hinted is an error with a hint, which fault turns into a *dockerfile.Error.
type hinted struct {
	message, hint string
}

// Error is the message alone.
func (e *hinted) Error() string { return e.message }

func refuse(what, hint string) error {
	return &hinted{message: "cooper does not support " + what, hint: hint}
}
