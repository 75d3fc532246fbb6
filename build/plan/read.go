package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// reader finds out what the stages are made from, and what they take from each other.
type reader struct {
	text
	aim    aim
	args   *arguments
	stages *stageList
	// contexts are Options.Contexts.
	contexts map[string]NamedContext
	// first is Changes.From.
	first string
}

// all expands every FROM, and finds the origins of all instructions that take files from stages or images.
func (r *reader) all() error {
	known := append(slices.Clone(r.args.metaArgs), r.args.global.Keys()...)
	for n := range r.file.Stages {
		st := &stage{index: n, src: r.file.Stages[n], loc: r.file.Location(r.file.Stages[n].Location), platform: r.aim.image}
		if err := r.from(st, known); err != nil {
			return err
		}
		r.stages.add(st)
	}

	for _, st := range r.stages.all {
		if st.replaced {
			continue
		}
		for _, cmd := range st.src.Commands {
			in, err := r.instruction(st, cmd)
			if err != nil {
				return err
			}
			st.commands = append(st.commands, in)
		}
	}

	return r.stages.checkCycles()
}

// from expands FROM and finds the stage's base. A name in FROM can only mean a stage above it.
func (r *reader) from(st *stage, known []string) error {
	loc, lint := st.loc, r.lint.at(st.src.Comments)
	name, err := r.baseName(st, lint, known)
	if err != nil {
		return err
	}
	if st.src.Platform != "" {
		if err := r.fromPlatform(st, lint, known); err != nil {
			return err
		}
	}
	st.base = r.baseOrigin(st, name)
	if err := r.fromAfter(st, lint, known); err != nil {
		return err
	}
	if st.base.kind == originImage && !st.base.place && !reference.IsID(st.base.ref) {
		if _, err := reference.Parse(st.base.ref); err != nil {
			return r.file.NewError(loc, fmt.Sprintf("%q is not an image name: %v", st.base.ref, err),
				r.stages.hint(st.base.ref, st))
		}
	}
	return nil
}

// baseName gives the name of a stage's base: that of FROM after expansion or, for the first stage, Changes.From.
func (r *reader) baseName(st *stage, lint lint, known []string) (string, error) {
	if st.index == 0 && r.first != "" {
		return r.first, nil
	}
	base, err := run(r.expand.word, st.src.BaseName, r.args.global)
	if err != nil {
		return "", r.file.NewError(st.loc, fmt.Sprintf("cannot expand %s: %v", quoted(st.src.BaseName), err), "")
	}
	lint.undefinedInFrom(st.src.Location, base.missing, known)
	if base.text == "" {
		return "", r.file.NewError(st.loc, fmt.Sprintf("the base %q expands to nothing", st.src.BaseName),
			r.missingArgHint(base.missing))
	}
	return base.text, nil
}

func (r *reader) missingArgHint(missing []string) string {
	if len(missing) == 0 {
		return ""
	}
	if line := r.stageArg(missing[0]); line > 0 {
		return fmt.Sprintf("FROM sees only what is declared before the first FROM: move or repeat ARG %s, at line %d, there",
			missing[0], line)
	}
	return fmt.Sprintf("declare ARG %s with a default before the first FROM, or give --build-arg %s=...", missing[0],
		missing[0])
}

// stageArg gives the line, from 1, of the first ARG of a name inside a stage; 0 if there is none.
func (r *reader) stageArg(name string) int {
	for _, st := range r.file.Stages {
		for _, cmd := range st.Commands {
			arg, ok := cmd.(*instructions.ArgCommand)
			if ok && slices.ContainsFunc(arg.Args, func(kv instructions.KeyValuePairOptional) bool { return kv.Key == name }) {
				return r.file.Location(arg.Location()).StartLine
			}
		}
	}
	return 0
}

func (r *reader) fromPlatform(st *stage, lint lint, known []string) error {
	loc := st.loc
	value, err := run(r.expand.word, st.src.Platform, r.args.global)
	if err != nil {
		return r.file.NewError(loc, fmt.Sprintf("cannot expand --platform=%s: %v", st.src.Platform, err), "")
	}
	lint.undefinedInFrom(st.src.Location, value.missing, known)
	lint.fromPlatform(&st.src, value, r.args.global)
	if value.text == "" {
		return r.file.NewError(loc, fmt.Sprintf("--platform=%s expands to nothing", st.src.Platform),
			r.missingArgHint(value.missing))
	}
	st.platform, err = ParsePlatform(value.text, r.aim.build)
	if err != nil {
		return r.file.NewError(loc, err.Error(), "a platform is OS/ARCH[/VARIANT], such as "+
			formatPlatform(r.aim.build))
	}
	return nil
}

// fromAfter finds the stages that FROM names in --after.
func (r *reader) fromAfter(st *stage, lint lint, known []string) error {
	for _, text := range r.file.After(st.index) {
		value, err := run(r.expand.word, text, r.args.global)
		if err != nil {
			return r.file.NewError(st.loc, fmt.Sprintf("cannot expand --after=%s: %v", text, err), "")
		}
		lint.undefinedInFrom(st.src.Location, value.missing, known)
		other := r.stages.lastNamed(value.text, st.index)
		if n, err := strconv.Atoi(value.text); other == nil && err == nil && n >= 0 && n < len(r.stages.all) {
			other = r.stages.all[n]
		}
		if other == nil {
			return r.file.NewError(st.loc, fmt.Sprintf("FROM --after=%s: stage %q not found above this one", text, value.text),
				r.stages.hint(value.text, st))
		}
		st.after = append(st.after, other)
	}
	return nil
}

// baseOrigin finds the origin that base, the name in FROM after expansion, means. A named context with the stage's own
// name replaces the stage.
func (r *reader) baseOrigin(st *stage, base string) origin {
	if st.src.Name != "" {
		if o, ok := r.contextOrigin(st.src.Name, st.platform); ok {
			st.replaced = true
			return o
		}
	}
	if base == scratch {
		return origin{kind: originScratch, name: base}
	}
	if below, ok := r.stages.named[strings.ToLower(base)]; ok {
		return origin{kind: originStage, name: base, stage: below}
	}
	if o, ok := r.contextOrigin(base, st.platform); ok {
		return o
	}
	if n, err := strconv.Atoi(base); err == nil && n >= 0 && n < len(r.stages.all) {
		return origin{kind: originStage, name: base, stage: r.stages.all[n]}
	}
	return origin{kind: originImage, name: base, ref: base}
}

// contextOrigin finds the named context for a name. As in docker, the name alpine also means
// docker.io/library/alpine:latest. A context may be for one platform only: see Options.Contexts.
func (r *reader) contextOrigin(name string, platform ocispec.Platform) (origin, bool) {
	if strings.EqualFold(name, scratch) || strings.EqualFold(name, "context") {
		return origin{}, false
	}
	key, ok := r.contextKey(name, formatPlatform(platform))
	if !ok {
		key, ok = r.contextKey(name, "")
	}
	if !ok {
		return origin{}, false
	}
	named := r.contexts[key]
	switch {
	case named.Kind == ContextImage && named.Ref == scratch:
		return origin{kind: originScratch, name: name}, true
	case named.Kind == ContextImage:
		return origin{kind: originImage, name: name, ref: named.Ref}, true
	case named.Kind == ContextLayout:
		return origin{kind: originImage, name: name, ref: LayoutRef + named.Ref, place: true}, true
	case named.Kind == ContextTarget:
		return origin{kind: originImage, name: name, ref: TargetRef + named.Ref, place: true}, true
	case named.Kind == ContextBuilt:
		return origin{kind: originImage, name: name, ref: BuiltRef + named.Ref, place: true}, true
	}
	return origin{kind: originContext, name: key}, true
}

// contextKey finds the key in Options.Contexts of a context for a platform, or, if platform is "", of one for all
// platforms.
func (r *reader) contextKey(name, platform string) (string, bool) {
	if _, ok := r.contexts[name]; ok && platform == "" {
		return name, true
	}
	best, found := "", false
	for key := range r.contexts {
		bare, only, _ := strings.Cut(key, "::")
		if parsed, err := ParsePlatform(only, r.aim.build); err == nil {
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

// instruction finds the origins of one instruction.
func (r *reader) instruction(st *stage, cmd instructions.Command) (instruction, error) {
	in := instruction{Command: cmd}
	switch c := cmd.(type) {
	case *instructions.ArgCommand:
		for _, a := range c.Args {
			r.args.declared[a.Key] = true
		}
	case *instructions.CopyCommand:
		if c.From == "" {
			return in, nil
		}
		o, err := r.fileOrigin(st, c.From, r.file.Location(c.Location()))
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
			o, err := r.fileOrigin(st, m.From, r.file.Location(c.Location()))
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
func (r *reader) fileOrigin(st *stage, from string, loc dockerfile.Location) (origin, error) {
	if plain, err := run(r.expand.word, from, newVariables(nil)); err != nil || plain.text != from {
		return origin{}, r.file.NewError(loc, fmt.Sprintf("from=%s: variables are not expanded here", from),
			"FROM may use an ARG: define a stage with FROM $ARG AS NAME and use NAME")
	}
	if from == scratch {
		return origin{kind: originScratch, name: from}, nil
	}
	if n, err := strconv.Atoi(from); err == nil {
		if n < 0 || n >= len(r.stages.all) {
			return origin{}, r.file.NewError(loc, fmt.Sprintf("there is no stage number %d", n), r.stages.list(st.index))
		}
		return stageOrigin(r.stages.all[n], from), nil
	}

	if other := r.stages.lastNamed(from, st.index); other != nil {
		return stageOrigin(other, from), nil
	}
	if o, ok := r.contextOrigin(from, r.aim.image); ok {
		return o, nil
	}
	if _, err := reference.Parse(from); err != nil {
		return origin{}, r.file.NewError(loc, fmt.Sprintf("%q is neither a stage nor an image name: %v", from, err),
			r.stages.hint(from, st))
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
