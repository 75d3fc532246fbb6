package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// planStage makes the steps of one stage. The stages that it takes files from were planned before.
func (p *planner) planStage(st *stage) error {
	st.out = &Stage{Index: st.index, Name: st.name()}
	st.once = map[string][]parser.Range{}
	p.graph.Stages = append(p.graph.Stages, st.out)
	total := p.countSteps(st)
	first := len(p.graph.Steps)
	p.startStage(st)
	if err := p.hold(variableBytes*len(st.env.names) + stringBytes*len(st.args)); err != nil {
		return p.file.NewError(p.location(st), err.Error(), "")
	}

	if err := p.checkStagePlatform(st); err != nil {
		return err
	}
	for _, in := range st.commands {
		if err := p.planInstruction(st, in); err != nil {
			return p.instructionError(in, err)
		}
	}

	for _, s := range p.graph.Steps[first:] {
		if s.Stage == st.out {
			s.Total = total
		}
	}
	st.out.Last = st.last
	st.out.Image = st.image.Share()
	return nil
}

func (p *planner) countSteps(st *stage) int {
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

// startStage sets the config, the variables and the parent step that the stage begins with.
func (p *planner) startStage(st *stage) {
	if st.base.kind == originStage {
		below := st.base.stage
		st.image.Image = below.image.WithoutOnBuild()
		st.env, st.args = below.env.clone(), slices.Clone(below.args)
		st.hasWorkdir, st.unknownBase = below.hasWorkdir, below.unknownBase
		st.last = below.last
		return
	}

	step := &Step{Stage: st.out, Location: p.location(st), Op: &Base{}, Text: "FROM " + st.base.name}
	switch st.base.kind {
	case originImage:
		key := imageKey(st.base.ref, st.platform)
		base := p.images[key]
		_, st.unknownBase = p.unknown[key]
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
		st.image.Image = imagebuilder.Scratch(p.opts.Platform).WithWorkdir("/")
	}

	if _, ok := st.image.Env("PATH"); !ok {
		st.image.SetEnv("PATH", imagebuilder.DefaultPath)
	}
	if st.image.Config.WorkingDir != "" {
		st.image.Image = st.image.WithWorkdir(st.image.Dir())
	}

	st.env = newVariables(st.image.Config.Env)
	step.Image = st.share()
	p.add(st, step, st.base.kind == originImage)
	if st.base.kind == originContext {
		p.add(st, &Step{
			Stage: st.out, Location: p.location(st), Image: st.share(), Text: "FROM " + st.base.name, CreatedBy: "FROM " +
				st.base.name,
			Op: &Copy{From: Input{Kind: InputContext, Name: st.base.name}, Sources: []string{"/"}, Dest: "/"},
		}, true)
	}
}

// add puts a step at the end of a stage. counted tells whether the step gets a Number.
func (p *planner) add(st *stage, s *Step, counted bool) {
	s.ID = len(p.graph.Steps)
	s.Parent = st.last
	if counted {
		st.counted++
		s.Number = st.counted
	}
	s.addDep(s.Parent)
	switch op := s.Op.(type) {
	case *Copy:
		s.addDep(op.From.Step)
	case *Run:
		for _, m := range op.Mounts {
			s.addDep(m.From.Step)
		}
	}
	p.graph.Steps = append(p.graph.Steps, s)
	st.last = s
}

func (s *Step) addDep(dep *Step) {
	if dep != nil && !slices.Contains(s.Deps, dep) {
		s.Deps = append(s.Deps, dep)
	}
}

// input gives the Input for an origin. For an image that no stage starts from it adds a base step, so it must be called
// before the step that uses the input is added.
func (p *planner) input(o origin) Input {
	switch o.kind {
	case originContext:
		return Input{Kind: InputContext, Name: o.name}
	case originStage:
		return Input{Kind: InputStep, Name: o.name, Step: o.stage.out.Last}
	case originImage:
		return Input{Kind: InputImage, Name: o.name, Step: p.hiddenBase(o)}
	case originScratch:
		return Input{Kind: InputImage, Name: scratch, Step: p.hiddenBase(o)}
	}
	return Input{}
}

func (p *planner) hiddenBase(o origin) *Step {
	key := o.ref
	if s, ok := p.hidden[key]; ok {
		return s
	}

	name := o.ref
	if o.place {
		name = o.name
	}

	op, image := &Base{Ref: o.ref}, imagebuilder.Scratch(p.opts.Platform)
	if o.kind == originScratch {
		name = scratch
	} else {
		op.Image = p.images[imageKey(o.ref, p.opts.Platform)]
		image = op.Image.Image
	}

	s := &Step{
		ID: len(p.graph.Steps), Stage: &Stage{Index: -1, Name: name}, Location: dockerfile.Location{File: p.file.Name},
		Text: "FROM " + name, Op: op, Image: &image,
	}

	if o.kind == originImage {
		s.Number, s.Total = 1, 1
	}
	s.Stage.Last, s.Stage.Image = s, image
	p.graph.Steps = append(p.graph.Steps, s)
	p.hidden[key] = s
	return s
}

// hinted is an error with a hint, which instructionError turns into a *dockerfile.Error.
type hinted struct {
	message, hint string
}

// Error is the message alone.
func (e *hinted) Error() string { return e.message }

func refuse(what, hint string) error {
	return &hinted{message: "cooper does not support " + what, hint: hint}
}

// instructionError gives an error the location of its instruction.
func (p *planner) instructionError(in instruction, err error) error {
	var placed *dockerfile.Error
	if errors.As(err, &placed) {
		return err
	}
	loc, message, hint := p.file.Location(in.Location()), err.Error(), ""
	var h *hinted
	if errors.As(err, &h) {
		hint = h.hint
	}
	if in.onBuild {
		message = "ONBUILD instruction of the base: " + message
	}
	return p.file.NewError(loc, message, hint)
}

// planInstruction makes the step of one instruction.
func (p *planner) planInstruction(st *stage, in instruction) error {
	lint := p.lint.at(in.Comments())
	lint.open = st.unknownBase
	x := expanding{planner: p, stage: st, lint: lint, in: in}
	x.text = x.show()
	switch c := in.Command.(type) {
	case *instructions.RunCommand:
		return x.run(c)
	case *instructions.CopyCommand:
		return x.copyFiles(c)
	case *instructions.AddCommand:
		return x.addFiles(c)
	case *instructions.WorkdirCommand:
		return x.workdir(c)
	}
	createdBy, err := x.config()
	if err != nil {
		return err
	}
	x.step(&Config{}, createdBy, false)
	return x.hold(len(createdBy))
}

// expanding is one instruction that is being expanded.
type expanding struct {
	*planner
	stage *stage
	lint  lint
	in    instruction
	// text is the instruction as progress shows it, with the variables as they were before it.
	text string
	// fetched are the flags of ADD for remote sources; nil for COPY, which takes none.
	fetched *fetchFlags
}

// step adds the instruction's step, with the config as it is now. Consecutive Config steps share one config, which has
// the changes of all of them.
func (x expanding) step(op Op, createdBy string, counted bool) {
	st := x.stage
	s := &Step{Stage: st.out, Location: x.file.Location(x.in.Location()), Text: x.text, CreatedBy: createdBy, Op: op}
	if _, isConfig := op.(*Config); isConfig {
		if st.changing == nil {
			st.changing = new(imagebuilder.Image)
		}
		*st.changing = st.image.Image
		s.Image = st.changing
	} else {
		s.Image = st.share()
	}
	x.add(st, s, counted)
}

// share gives a copy of the config as it is now, for a step to keep.
func (st *stage) share() *imagebuilder.Image {
	st.changing = nil
	image := st.image.Share()
	return &image
}

// show gives the instruction with its name in upper case and the variables that are set filled in.
func (x expanding) show() string {
	text := x.in.Name()
	if s, ok := x.in.Command.(fmt.Stringer); ok {
		text = s.String()
	}
	if c, ok := x.in.Command.(*instructions.RunCommand); ok && len(c.Files) > 0 {
		text += heredocSummary(c.Files[0].Data)
	}
	env := x.stage.env
	if c, ok := x.in.Command.(*instructions.RunCommand); ok {
		env = hideSecrets(c, env)
	}
	if filled, err := run(x.planner.expand.shown, text, env); err == nil {
		text = filled.text
	}
	if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
		text = strings.ToUpper(text[:end]) + text[end:]
	} else {
		text = strings.ToUpper(text)
	}
	if x.in.onBuild {
		text = "ONBUILD " + text
	}
	return text
}

// heredocSummary gives the first line of a heredoc script, in brackets, for progress.
func heredocSummary(script string) string {
	first, rest, _ := strings.Cut(strings.TrimSpace(script), "\n")
	if strings.TrimSpace(rest) != "" {
		first = strings.TrimSuffix(first, "\r") + "..."
	}
	return " (" + first + ")"
}

// word expands one word of the instruction.
func (x expanding) word(text string) (string, error) {
	e, err := run(x.planner.expand.word, text, x.stage.env)
	if err != nil {
		return "", fmt.Errorf("cannot expand %s: %w", quoted(text), err)
	}
	x.lint.undefined(x.in.Location(), e.missing, x.stage.env, x.stage.args)
	return e.text, x.hold(len(e.text))
}

func (x expanding) words(texts []string) ([]string, error) {
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		word, err := x.word(text)
		if err != nil {
			return nil, err
		}
		out = append(out, word)
	}
	return out, nil
}
