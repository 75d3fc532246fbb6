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
)

// The prefixes by which a Resolver tells references to an OCI layout and to a separate build from image names, none of
// which can start like that.
const (
	LayoutRef = "oci-layout://"
	TargetRef = "target://"
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
	// Insecure allows RUN --security=insecure.
	Insecure bool
	// HostNetwork allows RUN --network=host.
	HostNetwork bool
	// Labels are put on the finished image of the target stage.
	Labels map[string]string
	// Ignore says which files of the main context are hidden from COPY and ADD; nil: none.
	Ignore IgnoredFiles
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
	// explicit tells that Options.Platform was set, so that the image gets that platform whatever its base is for.
	explicit bool
	lint     lint
	expand   expander
	// global are the platform arguments and the arguments before the first FROM; metaArgs are the names of the latter.
	global   *variables
	metaArgs []string
	stages   []*stage
	// named has the last stage of each name.
	named map[string]*stage
	// images are the images that the resolver found, by imageKey.
	images map[string]imagebuilder.Base
	// strict has the keys in images of those whose platform was asked for (Wanted.Asked).
	strict map[string]bool
	// hidden has, by the same keys, the base steps of images that files are only copied from.
	hidden map[string]*Step
	// declared are the names of all ARG instructions.
	declared map[string]bool
	// held is about how many bytes the plan takes so far; hold adds to it.
	held  int
	graph *Graph

	// checking tells that the plan won't be built: images may be missing, and platforms ones that can't run here.
	// allStages plans also the stages that the target doesn't need.
	checking, allStages bool
	// unknown has the references of the images that the resolver doesn't have, by imageKey.
	unknown map[string]string
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

// errTooLarge is the error of hold for a plan that exceeds maxHeld.
var errTooLarge = fmt.Errorf("the image configs and their history are larger than %d MiB", maxHeld>>20)

const (
	// maxHeld is how many bytes a plan may hold: the texts of the history, and what is copied of the config for each step
	// that runs or copies something. It is enough for thousands of variables and labels, but not for a thousand
	// instructions that each expose all ports.
	maxHeld = 32 << 20
	// stringBytes is how many bytes an entry of a list takes besides its text.
	stringBytes = 16
	// variableBytes is how many bytes an entry in a stage's variables takes besides its text.
	variableBytes = 100
)

// hold adds to the bytes that the plan holds and fails if they exceed maxHeld.
func (p *planner) hold(bytes int) error {
	p.held += bytes
	if p.held > maxHeld {
		return errTooLarge
	}
	return nil
}
