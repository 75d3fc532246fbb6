package plan

import (
	"context"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// ContextKind says what kind of thing a named context is.
type ContextKind string

// The kinds of named context. A context of any other kind is refused by name where it is used.
const (
	// ContextDirectory, ContextGit and ContextHTTP provide files: a directory or archive of this machine, a reference to a
	// git repository, the URL of a file.
	ContextDirectory ContextKind = "directory"
	ContextGit       ContextKind = "git"
	ContextHTTP      ContextKind = "http"
	// ContextImage, ContextLayout and ContextTarget provide images: a reference, DIR[:TAG][@DIGEST] of an OCI layout, and
	// DIR[#STAGE], the result of a separate build.
	ContextImage  ContextKind = "image"
	ContextLayout ContextKind = "oci-layout"
	ContextTarget ContextKind = "target"
	// ContextBuilt is an image of the store by its ID: the result of a build that the caller has done before.
	ContextBuilt ContextKind = "built"
)

// The prefixes by which a Resolver tells references to an OCI layout, to a separate build and to an image that was
// built before from image names, none of which can start like that.
const (
	LayoutRef = "oci-layout://"
	TargetRef = "target://"
	BuiltRef  = "built://"
)

// A NamedContext is a --build-context.
type NamedContext struct {
	Kind ContextKind
	// Ref is the path, URL or reference in the form that Kind says, without the prefix that tells the kind.
	Ref string
}

// files tells whether the context provides files; otherwise it provides an image.
func (c NamedContext) files() bool {
	return c.Kind == ContextDirectory || c.Kind == ContextGit || c.Kind == ContextHTTP
}

// Options says what to plan. The zero value, with a Resolver and the platforms set, plans the last stage.
type Options struct {
	// Target is a stage by name or number; empty means the last.
	Target string
	// BuildArgs are the values of --build-arg by name; nil: it was given without a value and the environment has none.
	BuildArgs map[string]*string
	// Proxies are the proxy variables of the environment by name. RUN steps get those that neither BuildArgs nor the image
	// sets. They may hold passwords, so they are in no history and no cache key, even if an ARG declares them.
	Proxies map[string]string
	// Platform is the image's platform, BuildPlatform this machine's. If Platform is empty, the image gets the platform of
	// its base image, which is looked for under BuildPlatform.
	Platform, BuildPlatform ocispec.Platform
	// Contexts are the named contexts by name. For a stage of the platform PLATFORM, NAME::PLATFORM wins over NAME.
	Contexts map[string]NamedContext
	// Resolver finds images. It may be nil if the target needs none.
	Resolver Resolver
	// Sources is asked for each image, repository and URL; nil: all are allowed as they are.
	Sources Sources
	// Devices are those that RUN --device may name; AllDevices are all.
	Devices    []string
	AllDevices bool
	// Insecure allows RUN --security=insecure.
	Insecure bool
	// HostNetwork allows RUN --network=host.
	HostNetwork bool
	// Labels are put on the finished image of the target stage.
	Labels map[string]string
	// Changes are further changes of the images.
	Changes Changes
	// Fresh are the stages, by name or number, whose steps are done whatever the cache has.
	Fresh []string
	// Ignore says which files of the main context are hidden from COPY and ADD; nil: none.
	Ignore IgnoredFiles
	// ContextDate gives the date of the main context in seconds since 1970, or "" if it has none: it takes the place of
	// "context" as the value of SOURCE_DATE_EPOCH. Nil: the word stays.
	ContextDate func(ctx context.Context) (string, error)
	// Warn is called with each warning, in file order, also with those before an error. It may be nil; the graph has the
	// warnings, too.
	Warn func(dockerfile.Warning)
}

// IgnoredFiles tells what an ignore file hides.
type IgnoredFiles interface {
	// HidesSource tells whether all that a source of COPY or ADD, as written after expansion, can name is hidden.
	HidesSource(source string) bool
}

// A Resolver finds base images.
type Resolver interface {
	// Resolve finds the image a reference names for a platform. It is called once for each image the target needs, never
	// concurrently.
	Resolve(ctx context.Context, ref string, want Wanted) (imagebuilder.Base, error)
}

// Sources says which images, repositories and URLs may be used, and what takes their place.
type Sources interface {
	// Source is the source that is used for one that is named as in BuildKit, docker-image://NAME:TAG, git://HOST/PATH#REF
	// or a URL; or an error if it must not be used.
	Source(source string) (string, error)
}

// Wanted is the platform that an image is wanted for.
type Wanted struct {
	ocispec.Platform
	// Asked tells that a --platform names the platform. Otherwise it is the machine's, and an image in the store will do
	// even if it is for another platform.
	Asked bool
}

// Make plans the build of a Dockerfile. The error for a mistake in the file, or for what can't be built, is a
// *dockerfile.Error; an error of the Resolver is the cause in one.
func Make(ctx context.Context, f *dockerfile.File, o Options) (*Graph, error) {
	p := newPlanner(f, o, false)
	err := p.safely(func() error { return p.plan(ctx) })
	p.graph.Warnings = sortWarnings(p.graph.Warnings)
	if o.Warn != nil {
		for _, w := range p.graph.Warnings {
			o.Warn(w)
		}
	}
	if err == nil {
		err = checkError(f, p.graph.Warnings)
	}
	if err != nil {
		return nil, err
	}
	return p.graph, nil
}

// safely turns a panic in do into an error: the expansion and mount parsers are BuildKit's, and a bug in them must not
// crash this program.
func (p *planner) safely(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.file.NewError(dockerfile.Location{File: p.file.Name}, fmt.Sprintf("the Dockerfile can't be planned: %v", r),
				"")
		}
	}()
	return do()
}

func (p *planner) plan(ctx context.Context) error {
	if err := p.args.dateGiven(ctx, p.opts.ContextDate); err != nil {
		return err
	}
	if err := p.args.read(); err != nil {
		return err
	}
	if err := p.args.dateDefault(ctx, p.opts.ContextDate); err != nil {
		return err
	}
	if err := p.reader.all(); err != nil {
		return err
	}

	target, err := p.stages.target(p.opts.Target)
	if err != nil {
		return err
	}
	if p.aim.explicit {
		if err := p.aim.refuseWindows(target, p.aim.image); err != nil {
			return err
		}
	}

	if err := p.resolving.resolve(ctx, target); err != nil {
		return err
	}
	if p.allStages {
		for _, st := range p.stages.all {
			if err := p.resolving.resolve(ctx, st); err != nil {
				return err
			}
		}
	}

	for _, st := range p.stages.all {
		if !st.needed {
			continue
		}
		if err := p.staging.plan(st); err != nil {
			return err
		}
	}

	p.graph.SourceDate = p.args.sourceDate()
	p.graph.Target = target.out
	changes := p.opts.Changes
	p.graph.Target.Image = changes.system(p.aim.finished(changes.finish(p.graph.Target.Image.WithLabels(p.opts.Labels))))
	p.args.warnUnused()
	p.warnFresh()
	return nil
}

// planner has the parts that make one plan.
type planner struct {
	text
	opts Options
	aim  aim
	// allStages plans also the stages that the target doesn't need.
	allStages bool
	args      *arguments
	stages    *stageList
	images    *imageSet
	reader    *reader
	resolving *resolving
	staging   *staging
	graph     *Graph
}

// text is the Dockerfile with what reads it: the linter's rules and the expansion of variables.
type text struct {
	file   *dockerfile.File
	lint   lint
	expand expander
	// warn adds a warning that isn't one of the linter's.
	warn func(dockerfile.Warning)
}

// newPlanner puts the parts together; checking is the aim's.
func newPlanner(f *dockerfile.File, o Options, checking bool) *planner {
	g := &Graph{Warnings: slices.Clone(f.Warnings)}
	warn := func(w dockerfile.Warning) { g.Warnings = append(g.Warnings, w) }
	t := text{
		file: f, warn: warn, expand: newExpander(f.Escape),
		lint: lint{Linter: f.NewLinter(warn), compared: new(int)},
	}

	a, held := newAim(f, o, checking), new(budget)
	args, stages, images := newArguments(t, a, held, o), newStageList(f), newImageSet(o, checking)
	read := &reader{text: t, aim: a, args: args, stages: stages, contexts: o.Contexts, first: o.Changes.From}
	steps := &stepList{file: f, images: images, platform: a.image, graph: g, hidden: map[string]*Step{}}

	return &planner{
		text: t, opts: o, aim: a, args: args, stages: stages, images: images, reader: read,
		resolving: &resolving{text: t, aim: a, reader: read, stages: stages, images: images},
		staging:   &staging{text: t, opts: o, aim: a, args: args, images: images, steps: steps, budget: held},
		graph:     g,
	}
}
