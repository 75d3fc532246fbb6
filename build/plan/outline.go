package plan

import (
	"cmp"
	"context"
	"maps"
	"path"
	"slices"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// An Outline lists the build arguments, secrets and SSH agents that a target uses.
type Outline struct {
	// Name is the target's name, empty for a stage without one. Description is the comment above its FROM.
	Name, Description string
	// Args, Secrets and SSH are in file order.
	Args         []OutlineArg
	Secrets, SSH []OutlineMount
}

// An OutlineArg is a build argument that the target, or a stage that it needs, uses. Value is its value in this build.
type OutlineArg struct {
	Name, Description, Value string
	Location                 dockerfile.Location
}

// An OutlineMount is a secret or an SSH agent, by its ID.
type OutlineMount struct {
	Name     string
	Required bool
	Location dockerfile.Location
}

// A Target is a stage that can be built.
type Target struct {
	// Name is empty for a stage without a name. Base and Platform are as written in its FROM.
	Name, Description, Base, Platform string
	Default                           bool
	Location                          dockerfile.Location
}

// Targets gives the stages of a file, in file order.
func Targets(f *dockerfile.File) []Target {
	targets := make([]Target, 0, len(f.Stages))
	for n := range f.Stages {
		st := &f.Stages[n]
		targets = append(targets, Target{
			Name: st.Name, Description: st.DocComment, Base: st.BaseName, Platform: st.Platform, Default: n == len(f.Stages)-1,
			Location: f.Location(st.Location),
		})
	}
	return targets
}

// MakeOutline lists what the target can be given. Images that the resolver doesn't have count as empty ones.
func MakeOutline(ctx context.Context, f *dockerfile.File, o Options) (Outline, error) {
	p := newChecker(f, o)
	if err := p.safely(func() error { return p.plan(ctx) }); err != nil {
		return Outline{}, err
	}
	out := outliner{planner: p, seen: map[*stage]bool{}, args: map[string]OutlineArg{}, secrets: map[string]OutlineMount{},
		ssh: map[string]OutlineMount{}}
	st := p.stages.all[p.graph.Target.Index]
	target := st.src
	err := p.safely(func() error { out.readStage(st); return nil })
	return Outline{
		Name: target.Name, Description: target.DocComment,
		Args:    inFileOrder(out.args, func(a OutlineArg) dockerfile.Location { return a.Location }),
		Secrets: inFileOrder(out.secrets, func(m OutlineMount) dockerfile.Location { return m.Location }),
		SSH:     inFileOrder(out.ssh, func(m OutlineMount) dockerfile.Location { return m.Location }),
	}, err
}

func inFileOrder[T any](found map[string]T, where func(T) dockerfile.Location) []T {
	var all []T
	for _, name := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[name])
	}
	slices.SortStableFunc(all, func(a, b T) int { return cmp.Compare(where(a).StartLine, where(b).StartLine) })
	return all
}

// outliner visits the stages from the target down: the stage itself, its base, then the stages that it takes files
// from. For each name the one that it meets first counts; of several arguments of one name in a stage, the last.
type outliner struct {
	*planner
	seen         map[*stage]bool
	args         map[string]OutlineArg
	secrets, ssh map[string]OutlineMount
}

func (o *outliner) readStage(st *stage) {
	if o.seen[st] {
		return
	}
	o.seen[st] = true
	n, own := 0, map[string]bool{}
	if st.base.kind == originStage {
		n = len(st.base.stage.args)
	}

	for _, in := range st.commands {
		switch c := in.Command.(type) {
		case *instructions.ArgCommand:
			for _, a := range c.Args {
				if _, met := o.args[a.Key]; !met || own[a.Key] {
					own[a.Key] = true
					o.useArg(a, st.args[n].value, o.file.Location(c.Location()))
				}
				n++
			}
		case *instructions.RunCommand:
			o.useMounts(c)
		}
	}

	for _, text := range []string{st.src.BaseName, st.src.Platform} {
		if e, err := run(o.expand.word, text, o.planner.args.global); err == nil {
			for _, name := range e.matched {
				o.useGlobal(name)
			}
		}
	}

	for _, dep := range st.stageDeps() {
		o.readStage(dep)
	}
}

// useArg records an ARG of a stage, in place of an earlier one of the same name. An ARG without a default that repeats
// the name of a global argument counts as a use of that. Platform arguments are left out: users don't give them.
func (o *outliner) useArg(a instructions.KeyValuePairOptional, value string, loc dockerfile.Location) {
	_, given := o.planner.args.given(a.Key)
	if _, global := o.planner.args.global.Get(a.Key); global && a.Value == nil && !given {
		o.useGlobal(a.Key)
		return
	}
	o.args[a.Key] = OutlineArg{Name: a.Key, Description: a.DocComment, Value: value, Location: loc}
}

// useGlobal records a global argument of the file, and the arguments that its default uses.
func (o *outliner) useGlobal(name string) {
	for n := len(o.file.MetaArgs) - 1; n >= 0; n-- {
		cmd := &o.file.MetaArgs[n]
		at := slices.IndexFunc(cmd.Args, func(a instructions.KeyValuePairOptional) bool { return a.Key == name })
		if at < 0 {
			continue
		}
		if _, ok := o.args[name]; ok {
			return
		}
		a := cmd.Args[at]
		value, _ := o.planner.args.global.Get(name)
		o.args[name] = OutlineArg{Name: name, Description: a.DocComment, Value: value,
			Location: o.file.Location(cmd.Location())}
		if _, given := o.planner.args.given(name); given || a.Value == nil {
			return
		}
		if e, err := run(o.expand.word, *a.Value, o.planner.args.global); err == nil {
			for _, dep := range e.matched {
				o.useGlobal(dep)
			}
		}
		return
	}
}

func (o *outliner) useMounts(c *instructions.RunCommand) {
	loc := o.file.Location(c.Location())
	for _, m := range instructions.GetMounts(c) {
		id, to := m.CacheID, o.ssh
		switch m.Type {
		case instructions.MountTypeSecret:
			to = o.secrets
			if m.Source != "" {
				id = m.Source
			}
			if id == "" {
				id = path.Base(m.Target)
			}
		case instructions.MountTypeSSH:
			id = cmp.Or(id, "default")
		default:
			continue
		}
		if _, ok := to[id]; !ok {
			to[id] = OutlineMount{Name: id, Required: m.Required, Location: loc}
		}
	}
}
