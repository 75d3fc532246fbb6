package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// checkCycles refuses stages that need each other, in whatever order they stand.
func (p *planner) checkCycles() error {
	const (
		entered = 1
		left    = 2
	)

	state := map[*stage]int{}
	var path []*stage
	var visit func(st *stage) error
	visit = func(st *stage) error {
		state[st] = entered
		path = append(path, st)
		for _, dep := range st.stageDeps() {
			switch state[dep] {
			case entered:
				return p.cycleError(path, dep)
			case left:
				continue
			}
			if err := visit(dep); err != nil {
				return err
			}
		}
		path = path[:len(path)-1]
		state[st] = left
		return nil
	}

	for _, st := range p.stages {
		if state[st] == 0 {
			if err := visit(st); err != nil {
				return err
			}
		}
	}

	return nil
}

// stageDeps gives the stages that a stage needs, its base first.
func (st *stage) stageDeps() []*stage {
	var deps []*stage
	if st.base.kind == originStage {
		deps = append(deps, st.base.stage)
	}
	for _, in := range st.commands {
		for _, o := range in.origins {
			if o.kind == originStage {
				deps = append(deps, o.stage)
			}
		}
	}
	return deps
}

// cycleError gives the error for stages that need each other. path is a chain of stages of which each needs the next;
// the last needs again, which is in path, too. The error's location is the instruction by which a stage takes from one
// that stands below it in the file.
func (p *planner) cycleError(path []*stage, again *stage) error {
	circle := append(slices.Clone(path[slices.Index(path, again):]), again)
	names := []string{again.name()}
	var loc []parser.Range
	for n, st := range circle[:len(circle)-1] {
		dep := circle[n+1]
		names = append(names, dep.name())
		if dep.index >= st.index && loc == nil {
			loc = st.takesFrom(dep)
		}
	}
	if len(names) == 2 {
		return p.file.NewError(p.file.Location(loc), fmt.Sprintf("stage %q takes files from itself", again.name()),
			"a stage may only use stages above it")
	}
	return p.file.NewError(p.file.Location(loc), "the stages need each other: "+strings.Join(names, " -> "),
		"a stage may only use stages above it")
}

// takesFrom gives the location of the first instruction of the stage that takes files from dep.
func (st *stage) takesFrom(dep *stage) []parser.Range {
	for _, in := range st.commands {
		for _, o := range in.origins {
			if o.stage == dep {
				return in.Location()
			}
		}
	}
	return nil
}

// resolve marks a stage and the stages that it needs, finds their images, and puts the ONBUILD instructions of base
// images into the stages on top of them, which may need further stages.
func (p *planner) resolve(ctx context.Context, st *stage) error {
	if st.needed {
		return nil
	}
	st.needed = true
	if st.base.kind == originStage {
		if err := p.resolve(ctx, st.base.stage); err != nil {
			return err
		}
	}
	if err := p.resolveStage(ctx, st); err != nil {
		return err
	}
	for _, dep := range st.stageDeps() {
		if dep.index >= st.index {
			return p.forwardError(st, dep)
		}
		if err := p.resolve(ctx, dep); err != nil {
			return err
		}
	}
	return nil
}

// resolveStage finds the images of one stage and adds the triggers of its base.
func (p *planner) resolveStage(ctx context.Context, st *stage) error {
	loc := p.location(st)
	if err := p.checkContext(st.base, loc); err != nil {
		return err
	}
	if st.base.kind == originImage {
		base, err := p.findImage(ctx, st.base.ref, Wanted{st.platform, p.explicit || st.src.Platform != ""})
		if err != nil {
			return p.imageError(err, st.base, loc, st)
		}
		p.lint.at(st.src.Comments).basePlatform(st.src.Location, st.base.name, st.platform, base.Image.Platform)
	}

	if err := p.addTriggers(st); err != nil {
		return err
	}
	for _, in := range st.commands {
		at := p.file.Location(in.Location())
		for _, o := range in.origins {
			if err := p.checkContext(o, at); err != nil {
				return err
			}
			if o.kind != originImage {
				continue
			}
			image, err := p.findImage(ctx, o.ref, Wanted{p.opts.Platform, p.explicit})
			if err != nil {
				return p.imageError(err, o, at, st)
			}
			p.lint.at(in.Comments()).basePlatform(in.Location(), o.name, p.opts.Platform, image.Image.Platform)
		}
	}

	return nil
}

// checkContext refuses the kinds of named context that can't be opened.
func (p *planner) checkContext(o origin, loc dockerfile.Location) error {
	if o.kind != originContext || p.opts.Contexts[o.name].files() {
		return nil
	}
	return p.file.NewError(loc, fmt.Sprintf("cooper does not support %s as a build context (%s)",
		p.opts.Contexts[o.name].Kind, o.name),
		"use a directory, a URL, docker-image://REFERENCE, oci-layout://DIR or target:DIR")
}

func imageKey(ref string, platform ocispec.Platform) string {
	return ref + " " + formatPlatform(platform)
}

// findImage asks the resolver once for each image.
func (p *planner) findImage(ctx context.Context, ref string, want Wanted) (imagebuilder.Base, error) {
	key := imageKey(ref, want.Platform)
	if base, ok := p.images[key]; ok && (p.strict[key] || !want.Asked) {
		return base, nil
	}
	if p.opts.Resolver == nil {
		return imagebuilder.Base{}, errors.New("there is nothing to look images up in")
	}
	if err := context.Cause(ctx); err != nil {
		return imagebuilder.Base{}, err
	}
	base, err := p.opts.Resolver.Resolve(ctx, ref, want)
	if p.checking && errors.Is(err, ErrUnknownImage) {
		p.unknown[key], err = ref, nil
	}
	if err != nil {
		return base, err
	}
	p.images[key], p.strict[key] = base, want.Asked
	return base, nil
}

func (p *planner) imageError(err error, o origin, loc dockerfile.Location, st *stage) error {
	message := fmt.Sprintf("cannot get image %q", o.ref)
	if o.place {
		message = fmt.Sprintf("cannot get context %q", o.name)
	}
	e := p.file.NewError(loc, message, p.stageHint(o.name, st))
	e.Err = err
	return e
}

// forwardError gives the error for a stage that takes files from dep, a stage below it in the file.
func (p *planner) forwardError(st, dep *stage) error {
	loc := p.location(st)
	for _, in := range st.commands {
		for _, o := range in.origins {
			if o.stage == dep {
				loc = p.file.Location(in.Location())
			}
		}
	}
	return p.file.NewError(loc, fmt.Sprintf("stage %q is defined later, at line %d", dep.name(),
		p.location(dep).StartLine),
		"a stage may only use stages above it; move it up")
}

// addTriggers puts the ONBUILD instructions of the base before those of the stage.
func (p *planner) addTriggers(st *stage) error {
	if st.triggered || st.replaced {
		return nil
	}
	st.triggered = true
	lint := p.lint.at(st.src.Comments)
	var added []instruction
	for _, text := range p.triggers(st) {
		cmd, err := p.file.ParseTrigger(text, st.src.Location, lint.Linter)
		if err != nil {
			return err
		}
		in, err := p.readInstruction(st, cmd)
		if err != nil {
			return err
		}
		for _, o := range in.origins {
			if o.stage == st {
				return p.file.NewError(p.location(st),
					fmt.Sprintf("the ONBUILD instruction %q of the base takes files from the stage itself", text), "")
			}
		}
		in.onBuild = true
		added = append(added, in)
	}

	st.commands = append(added, st.commands...)
	return nil
}

// triggers gives the ONBUILD instructions of a stage's base, which the stage runs first.
func (p *planner) triggers(st *stage) []string {
	switch st.base.kind {
	case originImage:
		return p.images[imageKey(st.base.ref, st.platform)].Image.Config.OnBuild
	case originStage:
		below := st.base.stage
		if below.replaced {
			if below.base.kind == originImage {
				return p.images[imageKey(below.base.ref, below.platform)].Image.Config.OnBuild
			}
			return nil
		}
		var texts []string
		for _, cmd := range below.src.Commands {
			if c, ok := cmd.(*instructions.OnbuildCommand); ok {
				texts = append(texts, c.Expression)
			}
		}
		return texts
	}
	return nil
}
