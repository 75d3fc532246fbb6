package plan

import (
	"context"
	"fmt"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// stageDeps gives the stages that a stage needs, its base first.
func (st *stage) stageDeps() []*stage {
	var deps []*stage
	if st.base.kind == originStage {
		deps = append(deps, st.base.stage)
	}
	deps = append(deps, st.after...)
	for _, in := range st.commands {
		for _, o := range in.origins {
			if o.kind == originStage {
				deps = append(deps, o.stage)
			}
		}
	}
	return deps
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

// resolving finds the images of the stages that are needed.
type resolving struct {
	text
	aim    aim
	reader *reader
	stages *stageList
	images *imageSet
}

// resolve marks a stage and the stages that it needs, finds their images, and puts the ONBUILD instructions of base
// images into the stages on top of them, which may need further stages.
func (r *resolving) resolve(ctx context.Context, st *stage) error {
	if st.needed {
		return nil
	}
	st.needed = true
	if st.base.kind == originStage {
		if err := r.resolve(ctx, st.base.stage); err != nil {
			return err
		}
	}
	if err := r.resolveStage(ctx, st); err != nil {
		return err
	}
	for _, dep := range st.stageDeps() {
		if dep.index >= st.index {
			return r.forwardError(st, dep)
		}
		if err := r.resolve(ctx, dep); err != nil {
			return err
		}
	}
	return nil
}

// resolveStage finds the images of one stage and adds the triggers of its base.
func (r *resolving) resolveStage(ctx context.Context, st *stage) error {
	loc := st.loc
	if err := r.checkContext(st.base, loc); err != nil {
		return err
	}
	if st.base.kind == originImage {
		base, err := r.images.find(ctx, st.base.ref, Wanted{st.platform, r.aim.explicit || st.src.Platform != ""})
		if err != nil {
			return r.imageError(err, st.base, loc, st)
		}
		r.lint.at(st.src.Comments).basePlatform(st.src.Location, st.base.name, st.platform, base.Image.Platform)
	}

	if err := r.addTriggers(st); err != nil {
		return err
	}
	for _, in := range st.commands {
		at := r.file.Location(in.Location())
		for _, o := range in.origins {
			if err := r.checkContext(o, at); err != nil {
				return err
			}
			if o.kind != originImage {
				continue
			}
			image, err := r.images.find(ctx, o.ref, Wanted{r.aim.image, r.aim.explicit})
			if err != nil {
				return r.imageError(err, o, at, st)
			}
			r.lint.at(in.Comments()).basePlatform(in.Location(), o.name, r.aim.image, image.Image.Platform)
		}
	}

	return nil
}

// checkContext refuses the kinds of named context that can't be opened.
func (r *resolving) checkContext(o origin, loc dockerfile.Location) error {
	if o.kind != originContext || r.reader.contexts[o.name].files() {
		return nil
	}
	return r.file.NewError(loc, fmt.Sprintf("cooper does not support %s as a build context (%s)",
		r.reader.contexts[o.name].Kind, o.name),
		"use a directory, a URL, docker-image://REFERENCE, oci-layout://DIR or target:DIR")
}

func (r *resolving) imageError(err error, o origin, loc dockerfile.Location, st *stage) error {
	message := fmt.Sprintf("cannot get image %q", o.ref)
	if o.place {
		message = fmt.Sprintf("cannot get context %q", o.name)
	}
	e := r.file.NewError(loc, message, r.stages.hint(o.name, st))
	e.Err = err
	return e
}

// forwardError gives the error for a stage that takes files from dep, a stage below it in the file.
func (r *resolving) forwardError(st, dep *stage) error {
	loc := st.loc
	for _, in := range st.commands {
		for _, o := range in.origins {
			if o.stage == dep {
				loc = r.file.Location(in.Location())
			}
		}
	}
	return r.file.NewError(loc, fmt.Sprintf("stage %q is defined later, at line %d", dep.name(),
		dep.loc.StartLine),
		"a stage may only use stages above it; move it up")
}

// addTriggers puts the ONBUILD instructions of the base before those of the stage.
func (r *resolving) addTriggers(st *stage) error {
	if st.triggered || st.replaced {
		return nil
	}
	st.triggered = true
	lint := r.lint.at(st.src.Comments)
	var added []instruction
	for _, text := range r.triggers(st) {
		cmd, err := r.file.ParseTrigger(text, st.src.Location, lint.Linter)
		if err != nil {
			return err
		}
		in, err := r.reader.instruction(st, cmd)
		if err != nil {
			return err
		}
		for _, o := range in.origins {
			if o.stage == st {
				return r.file.NewError(st.loc,
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
func (r *resolving) triggers(st *stage) []string {
	switch st.base.kind {
	case originImage:
		return r.images.found[imageKey(st.base.ref, st.platform)].Image.Config.OnBuild
	case originStage:
		below := st.base.stage
		if below.replaced {
			if below.base.kind == originImage {
				return r.images.found[imageKey(below.base.ref, below.platform)].Image.Config.OnBuild
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
