package plan

import (
	"context"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// ContextKind says what a named context is.
type ContextKind string

// The kinds of named context. A context of any other kind is refused by name where it is used.
const (
	// ContextDirectory, ContextGit and ContextHTTP are files: a directory or archive of this machine, a reference to a git
	// repository, the URL of a file.
	ContextDirectory ContextKind = "directory"
	ContextGit       ContextKind = "git"
	ContextHTTP      ContextKind = "http"
	// ContextImage, ContextLayout and ContextTarget are images: a reference, DIR[:TAG][@DIGEST] of an OCI layout, and
	// DIR[#STAGE], the result of a build of its own.
	ContextImage  ContextKind = "image"
	ContextLayout ContextKind = "oci-layout"
	ContextTarget ContextKind = "target"
)

// The beginnings of a Resolver's reference by which it knows an OCI layout and a build of its own. No image name in a
// Dockerfile can start like that.
const (
	LayoutRef = "oci-layout://"
	TargetRef = "target://"
)

// A NamedContext is a --build-context.
type NamedContext struct {
	Kind ContextKind
	// Ref is as its kind says, without the prefix that tells the kind.
	Ref string
}

// files tells whether the context is made of files, and not an image.
func (c NamedContext) files() bool {
	return c.Kind == ContextDirectory || c.Kind == ContextGit || c.Kind == ContextHTTP
}

// Options says what to plan. The zero value, with a Resolver and the platforms set, plans the last stage.
type Options struct {
	// Target is a stage by name or number; empty means the last.
	Target string
	// BuildArgs are the --build-arg values; nil means that it was given without a value and is not in the environment.
	BuildArgs map[string]*string
	// Proxies are the proxy variables of the environment by name, for RUN steps to have unless BuildArgs or the image say
	// otherwise. They may hold passwords and are in nothing that is kept, even where ARG declares one.
	Proxies map[string]string
	// Platform is what the image is for, BuildPlatform what this machine is. An empty Platform is BuildPlatform, and then
	// the image is for what its base is for.
	Platform, BuildPlatform ocispec.Platform
	// Contexts are the named contexts by name. NAME::PLATFORM goes before NAME where something is needed for that
	// platform.
	Contexts map[string]NamedContext
	// Resolver finds images. It may be nil if the target needs none.
	Resolver Resolver
	// Insecure allows RUN --security=insecure.
	Insecure bool
	// HostNetwork allows RUN --network=host.
	HostNetwork bool
	// Labels are put on the finished image of the target stage.
	Labels map[string]string
	// Ignore says what COPY and ADD can't take from the main context; nil: nothing is hidden.
	Ignore IgnoredFiles
	// Warn is handed the warnings in file order, also those before an error. It may be nil: they are in the graph, too.
	Warn func(dockerfile.Warning)
}

// IgnoredFiles is what an ignore file hides.
type IgnoredFiles interface {
	// HidesSource tells whether a source of COPY or ADD, as written after expansion, can only be hidden.
	HidesSource(source string) bool
}

// A Resolver finds base images.
type Resolver interface {
	// Resolve finds the image a reference names for a platform. It is called once for each image the target needs, never
	// concurrently.
	Resolve(ctx context.Context, ref string, want Wanted) (imagebuilder.Base, error)
}

// Wanted is what an image has to be for.
type Wanted struct {
	ocispec.Platform
	// Asked says that a --platform names it. Else it is the machine's, and an image that is there for another will do.
	Asked bool
}

// Make plans the build of a Dockerfile. What is wrong with the file or can't be built is a *dockerfile.Error; an error
// of the Resolver is the cause in one.
func Make(ctx context.Context, f *dockerfile.File, o Options) (*Graph, error) {
	p := newPlanner(f, o)
	err := p.safely(func() error { return p.plan(ctx) })
	p.sortWarnings()
	if o.Warn != nil {
		for _, w := range p.graph.Warnings {
			o.Warn(w)
		}
	}
	if err == nil {
		err = p.checkError()
	}
	if err != nil {
		return nil, err
	}
	return p.graph, nil
}

// safely turns a panic into an error: the expansion and mount parsers are not ours, and a panic in them is a bug there,
// but never a crash here.
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
	p.usePlatforms()
	if err := p.readMetaArgs(); err != nil {
		return err
	}
	if err := p.readStages(); err != nil {
		return err
	}
	target, err := p.findTarget()
	if err != nil {
		return err
	}
	if p.explicit {
		if err := p.refuseWindows(target, p.opts.Platform); err != nil {
			return err
		}
	}
	if err := p.resolve(ctx, target); err != nil {
		return err
	}
	if p.allStages {
		for _, st := range p.stages {
			if err := p.resolve(ctx, st); err != nil {
				return err
			}
		}
	}
	for _, st := range p.stages {
		if !st.needed {
			continue
		}
		if err := p.planStage(st); err != nil {
			return err
		}
	}
	p.graph.SourceDate = p.sourceDate()
	p.graph.Target = target.out
	p.graph.Target.Image = p.finishedFor(p.graph.Target.Image.WithLabels(p.opts.Labels))
	p.warnUnusedArgs()
	return nil
}

// planner is the state of one Make.
type planner struct {
	file *dockerfile.File
	opts Options
	// explicit is true if the image's platform was asked for by name.
	explicit bool
	lint     lint
	expand   expander
	// global are the arguments before the first FROM on top of the platform arguments; metaArgs those the file names
	// itself.
	global   *variables
	metaArgs []string
	stages   []*stage
	// named is where a stage name leads, the last one of that name.
	named map[string]*stage
	// images are what the resolver found, by reference and platform; hidden the base steps of those only copied from.
	images map[string]imagebuilder.Base
	// strict are those of them that were asked for by platform.
	strict map[string]bool
	hidden map[string]*Step
	// declared are the names of all ARG instructions.
	declared map[string]bool
	// held counts bytes; see hold.
	held  int
	graph *Graph

	// checking is true if nothing will be built: images may be missing and platforms foreign. allStages plans what the
	// target doesn't need as well. unknown are the images that were missed, by their key in images.
	checking, allStages bool
	unknown             map[string]string
}

func newPlanner(f *dockerfile.File, o Options) *planner {
	p := &planner{
		file: f, opts: o,
		named:    map[string]*stage{},
		images:   map[string]imagebuilder.Base{},
		strict:   map[string]bool{},
		hidden:   map[string]*Step{},
		declared: map[string]bool{},
		unknown:  map[string]string{},
		graph:    &Graph{Warnings: slices.Clone(f.Warnings)},
	}
	p.lint = lint{Linter: f.NewLinter(func(w dockerfile.Warning) { p.graph.Warnings = append(p.graph.Warnings, w) }),
		compared: new(int)}
	p.expand = newExpander(f.Escape)
	return p
}

// errTooLarge is for plans that grow without sense.
var errTooLarge = fmt.Errorf("the image configs and their history are larger than %d MiB", maxHeld>>20)

const (
	// maxHeld bounds, in bytes, the texts of the history and what is copied from the config of one step to that of the
	// next one that runs or copies something: thousands of variables and labels are fine, all ports in each of a thousand
	// instructions are not.
	maxHeld = 32 << 20
	// stringBytes is what an entry of a list takes besides its text.
	stringBytes = 16
	// variableBytes is what an entry in a stage's variables takes besides its text.
	variableBytes = 100
)

// hold accounts for what the plan holds.
func (p *planner) hold(bytes int) error {
	p.held += bytes
	if p.held > maxHeld {
		return errTooLarge
	}
	return nil
}
