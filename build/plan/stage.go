package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

const scratch = "scratch"

// originKind says what kind of thing an origin is.
type originKind int

const (
	originNone originKind = iota
	originScratch
	originStage
	originContext
	originImage
)

// origin is what a FROM, COPY --from or RUN --mount=from= names, resolved to a stage, a context or an image.
type origin struct {
	kind originKind
	// name is the stage or image as written, or the key of a context in Options.Contexts.
	name string
	// ref is the reference of an image for the Resolver. place tells that it begins with LayoutRef or TargetRef, so that
	// it is no image name.
	ref   string
	place bool
	stage *stage
}

// argument is an ARG of a stage; value is empty if it has none.
type argument struct{ name, value string }

// instruction is an instruction of a stage, with the origins that it takes files from: one for COPY --from, one for
// each mount of RUN. onBuild tells that it is from the ONBUILD of a base image.
type instruction struct {
	instructions.Command
	origins []origin
	onBuild bool
}

// stage is a Stage that is being planned.
type stage struct {
	index int
	src   instructions.Stage
	base  origin
	// platform is the one that --platform of the FROM asks for, or else Options.Platform.
	platform ocispec.Platform
	// replaced tells that a named context replaces the whole stage.
	replaced bool
	commands []instruction
	// needed tells that the target needs the stage, triggered that the base's ONBUILD instructions were put into commands,
	// unknownBase that the resolver doesn't have the image that the stage is based on, directly or through other stages.
	needed, triggered, unknownBase bool
	out                            *Stage

	// The fields below are the state of planStage and change with each instruction. image is the config so far.
	image imagebuilder.Draft
	// changing is the config that the latest steps share, as long as they are Config steps; nil after any other step.
	changing *imagebuilder.Image
	env      *variables
	// runEnv is the latest result of expanding.runEnv. It is valid as long as env.sets is runEnvSets.
	runEnv     []string
	runEnvSets int
	args       []argument
	last       *Step
	once       map[string][]parser.Range
	// hasCmd tells that a CMD of this stage was planned, hasWorkdir a WORKDIR of this stage or of one that it is based on.
	hasCmd, hasWorkdir bool
	// counted is how many numbered steps the stage has so far.
	counted int
}

func (st *stage) name() string {
	if st.src.Name != "" {
		return st.src.Name
	}
	return strconv.Itoa(st.index)
}

func (p *planner) location(st *stage) dockerfile.Location { return p.file.Location(st.src.Location) }

// readStages expands every FROM, and finds the origins of all instructions that take files from stages or images.
func (p *planner) readStages() error {
	known := append(slices.Clone(p.metaArgs), p.global.Keys()...)
	for n := range p.file.Stages {
		st := &stage{index: n, src: p.file.Stages[n], platform: p.opts.Platform}
		if err := p.readFrom(st, known); err != nil {
			return err
		}
		p.stages = append(p.stages, st)
		if st.src.Name != "" {
			p.named[st.src.Name] = st
		}
	}

	for _, st := range p.stages {
		if st.replaced {
			continue
		}
		for _, cmd := range st.src.Commands {
			in, err := p.readInstruction(st, cmd)
			if err != nil {
				return err
			}
			st.commands = append(st.commands, in)
		}
	}

	return p.checkCycles()
}

// readFrom expands FROM and finds the stage's base. A name in FROM can only mean a stage above it.
func (p *planner) readFrom(st *stage, known []string) error {
	loc, lint := p.location(st), p.lint.at(st.src.Comments)
	base, err := run(p.expand.word, st.src.BaseName, p.global)
	if err != nil {
		return p.file.NewError(loc, fmt.Sprintf("cannot expand %s: %v", quoted(st.src.BaseName), err), "")
	}
	lint.undefinedInFrom(st.src.Location, base.missing, known)
	if base.text == "" {
		return p.file.NewError(loc, fmt.Sprintf("the base %q expands to nothing", st.src.BaseName),
			p.missingArgHint(base.missing))
	}
	if st.src.Platform != "" {
		if err := p.readFromPlatform(st, lint, known); err != nil {
			return err
		}
	}
	st.base = p.baseOrigin(st, base.text)
	if st.base.kind == originImage && !st.base.place {
		if _, err := reference.Parse(st.base.ref); err != nil {
			return p.file.NewError(loc, fmt.Sprintf("%q is not an image name: %v", st.base.ref, err),
				p.stageHint(st.base.ref, st))
		}
	}
	return nil
}

func (p *planner) missingArgHint(missing []string) string {
	if len(missing) == 0 {
		return ""
	}
	if line := p.stageArg(missing[0]); line > 0 {
		return fmt.Sprintf("FROM sees only what is declared before the first FROM: move or repeat ARG %s, at line %d, there",
			missing[0], line)
	}
	return fmt.Sprintf("declare ARG %s with a default before the first FROM, or give --build-arg %s=...", missing[0],
		missing[0])
}

// stageArg gives the line, from 1, of the first ARG of a name inside a stage; 0 if there is none.
func (p *planner) stageArg(name string) int {
	for _, st := range p.file.Stages {
		for _, cmd := range st.Commands {
			arg, ok := cmd.(*instructions.ArgCommand)
			if ok && slices.ContainsFunc(arg.Args, func(kv instructions.KeyValuePairOptional) bool { return kv.Key == name }) {
				return p.file.Location(arg.Location()).StartLine
			}
		}
	}
	return 0
}

func (p *planner) readFromPlatform(st *stage, lint lint, known []string) error {
	loc := p.location(st)
	value, err := run(p.expand.word, st.src.Platform, p.global)
	if err != nil {
		return p.file.NewError(loc, fmt.Sprintf("cannot expand --platform=%s: %v", st.src.Platform, err), "")
	}
	lint.undefinedInFrom(st.src.Location, value.missing, known)
	lint.fromPlatform(&st.src, value, p.global)
	if value.text == "" {
		return p.file.NewError(loc, fmt.Sprintf("--platform=%s expands to nothing", st.src.Platform),
			p.missingArgHint(value.missing))
	}
	st.platform, err = ParsePlatform(value.text, p.opts.BuildPlatform)
	if err != nil {
		return p.file.NewError(loc, err.Error(), "a platform is OS/ARCH[/VARIANT], such as "+
			formatPlatform(p.opts.BuildPlatform))
	}
	return nil
}

// baseOrigin finds the origin that base, the name in FROM after expansion, means. A named context with the stage's own
// name replaces the stage.
func (p *planner) baseOrigin(st *stage, base string) origin {
	if st.src.Name != "" {
		if o, ok := p.contextOrigin(st.src.Name, st.platform); ok {
			st.replaced = true
			return o
		}
	}
	if base == scratch {
		return origin{kind: originScratch, name: base}
	}
	if below, ok := p.named[strings.ToLower(base)]; ok {
		return origin{kind: originStage, name: base, stage: below}
	}
	if o, ok := p.contextOrigin(base, st.platform); ok {
		return o
	}
	if n, err := strconv.Atoi(base); err == nil && n >= 0 && n < len(p.stages) {
		return origin{kind: originStage, name: base, stage: p.stages[n]}
	}
	return origin{kind: originImage, name: base, ref: base}
}

// contextOrigin finds the named context for a name. As in docker, the name alpine also means
// docker.io/library/alpine:latest. A context may be for one platform only: see Options.Contexts.
func (p *planner) contextOrigin(name string, platform ocispec.Platform) (origin, bool) {
	if strings.EqualFold(name, scratch) || strings.EqualFold(name, "context") {
		return origin{}, false
	}
	key, ok := p.contextKey(name, formatPlatform(platform))
	if !ok {
		key, ok = p.contextKey(name, "")
	}
	if !ok {
		return origin{}, false
	}
	named := p.opts.Contexts[key]
	switch {
	case named.Kind == ContextImage && named.Ref == scratch:
		return origin{kind: originScratch, name: name}, true
	case named.Kind == ContextImage:
		return origin{kind: originImage, name: name, ref: named.Ref}, true
	case named.Kind == ContextLayout:
		return origin{kind: originImage, name: name, ref: LayoutRef + named.Ref, place: true}, true
	case named.Kind == ContextTarget:
		return origin{kind: originImage, name: name, ref: TargetRef + named.Ref, place: true}, true
	}
	return origin{kind: originContext, name: key}, true
}

// contextKey finds the key in Options.Contexts of a context for a platform, or, if platform is "", of one for all
// platforms.
func (p *planner) contextKey(name, platform string) (string, bool) {
	if _, ok := p.opts.Contexts[name]; ok && platform == "" {
		return name, true
	}
	best, found := "", false
	for key := range p.opts.Contexts {
		bare, only, _ := strings.Cut(key, "::")
		if parsed, err := ParsePlatform(only, p.opts.BuildPlatform); err == nil {
			only = formatPlatform(parsed)
		}
		if only == platform && familiar(bare) == familiar(name) && (!found || key < best) {
			best, found = key, true
		}
	}
	return best, found
}

func familiar(name string) string {
	named, err := reference.Parse(strings.ToLower(name))
	if err != nil {
		return strings.ToLower(name)
	}
	return strings.TrimSuffix(named.Familiar(), ":latest")
}

// readInstruction finds the origins of one instruction.
func (p *planner) readInstruction(st *stage, cmd instructions.Command) (instruction, error) {
	in := instruction{Command: cmd}
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		for _, a := range c.Args {
			p.declared[a.Key] = true
		}
	case *instructions.CopyCommand:
		if c.From == "" {
			return in, nil
		}
		o, err := p.fileOrigin(st, c.From, p.file.Location(c.Location()))
		if err != nil {
			return in, err
		}
		in.origins = []origin{o}
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(c) {
			if m.From == "" {
				in.origins = append(in.origins, origin{})
				continue
			}
			o, err := p.fileOrigin(st, m.From, p.file.Location(c.Location()))
			if err != nil {
				return in, err
			}
			in.origins = append(in.origins, o)
		}
	}

	return in, nil
}

// fileOrigin finds the origin that COPY --from or a mount's from= means. Variables in it aren't expanded. It finds also
// a stage below st, so that the error can name it.
func (p *planner) fileOrigin(st *stage, from string, loc dockerfile.Location) (origin, error) {
	if plain, err := run(p.expand.word, from, newVariables(nil)); err != nil || plain.text != from {
		return origin{}, p.file.NewError(loc, fmt.Sprintf("from=%s: variables are not expanded here", from),
			"FROM may use an ARG: define a stage with FROM $ARG AS NAME and use NAME")
	}
	if from == scratch {
		return origin{kind: originScratch, name: from}, nil
	}
	if n, err := strconv.Atoi(from); err == nil {
		if n < 0 || n >= len(p.stages) {
			return origin{}, p.file.NewError(loc, fmt.Sprintf("there is no stage number %d", n), p.listStages(st.index))
		}
		return stageOrigin(p.stages[n], from), nil
	}

	if other := p.stageNamed(from, st.index); other != nil {
		return stageOrigin(other, from), nil
	}
	if o, ok := p.contextOrigin(from, p.opts.Platform); ok {
		return o, nil
	}
	if _, err := reference.Parse(from); err != nil {
		return origin{}, p.file.NewError(loc, fmt.Sprintf("%q is neither a stage nor an image name: %v", from, err),
			p.stageHint(from, st))
	}

	return origin{kind: originImage, name: from, ref: from}, nil
}

// stageOrigin gives the origin of files of a stage: the stage, or the context if a context of files replaces the stage.
func stageOrigin(st *stage, name string) origin {
	if st.replaced && st.base.kind == originContext {
		return st.base
	}
	return origin{kind: originStage, name: name, stage: st}
}

// stageNamed gives the last stage of a name above the index before. If there is none, it gives a stage of that name
// further below, for the error, or nil.
func (p *planner) stageNamed(name string, before int) *stage {
	name = strings.ToLower(name)
	for n := min(before, len(p.stages)) - 1; n >= 0; n-- {
		if p.stages[n].src.Name == name {
			return p.stages[n]
		}
	}
	return p.named[name]
}

func (p *planner) findTarget() (*stage, error) {
	name := p.opts.Target
	if name == "" {
		return p.stages[len(p.stages)-1], nil
	}
	if st, ok := p.named[strings.ToLower(name)]; ok {
		return st, nil
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n < len(p.stages) {
		return p.stages[n], nil
	}
	return nil, p.file.NewError(dockerfile.Location{File: p.file.Name}, fmt.Sprintf("there is no target stage %q", name),
		nearHint(dockerfile.Nearest(strings.ToLower(name), p.names(len(p.stages))))+p.listStages(len(p.stages)))
}

// names gives the names of the stages above an index.
func (p *planner) names(before int) []string {
	var names []string
	for _, st := range p.stages[:min(before, len(p.stages))] {
		if st.src.Name != "" {
			names = append(names, st.src.Name)
		}
	}
	return names
}

// stageHint gives the hint for a name that wasn't found and may be a misspelt stage.
func (p *planner) stageHint(name string, st *stage) string {
	later, ok := p.named[strings.ToLower(name)]
	if ok && later == st {
		return fmt.Sprintf("the stage that is called %s can't be its own base", name)
	}
	if ok && later.index > st.index {
		return fmt.Sprintf("the stage %q is defined later, at line %d; move it up", name, p.location(later).StartLine)
	}
	near := dockerfile.Nearest(strings.ToLower(name), p.names(st.index))
	if near == "" {
		return ""
	}
	return nearHint(near) + p.listStages(st.index)
}

func nearHint(near string) string {
	if near == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %s? ", near)
}

// listStages lists the stages above an index, cut short if there are many.
func (p *planner) listStages(before int) string {
	var names []string
	for _, st := range p.stages[:min(before, len(p.stages))] {
		names = append(names, st.name())
	}
	if len(names) == 0 {
		return "there is no stage above this one"
	}
	const most = 20
	if len(names) > most {
		names = append(names[:most], "...")
	}
	return "the stages are " + strings.Join(names, ", ")
}
