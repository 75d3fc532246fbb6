package build

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/inputs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/rootfs"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/images"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// StoreOptions say which image store is used; see store.Options.
type StoreOptions = store.Options

// Format is that of an image's manifest.
type Format = imagebuilder.Format

// ParseFormat reads the value of --format.
func ParseFormat(text string) (Format, error) { return imagebuilder.ParseFormat(text) }

// NamedContext is a --build-context.
type NamedContext = plan.NamedContext

// Stdin as a context or a Dockerfile is standard input.
const Stdin = inputs.Stdin

// ParseContext reads a named context; see inputs.ParseContext.
func ParseContext(text string) (key string, c NamedContext, err error) {
	return inputs.ParseContext(text)
}

// ErrMachine is behind errors that are the machine's fault and not the build's.
var ErrMachine = store.ErrMachine

// HandleReexec does what this process was started for, if another cooper started it as a helper, and tells whether so.
func HandleReexec() bool { return store.HandleReexec() }

// PullPolicy says when a base image is fetched from its registry.
type PullPolicy string

// The pull policies; the zero value is PullMissing.
const (
	PullMissing PullPolicy = "missing"
	PullAlways  PullPolicy = "always"
	PullNever   PullPolicy = "never"
)

// Request says what to build. Context is needed; everything else is useful when zero.
type Request struct {
	// Context is what files are copied from: a directory, a tar archive, the URL of a git repository, of an archive or of
	// a Dockerfile, or "-": Stdin is an archive or a Dockerfile.
	Context string
	// Dockerfile is its path, a URL, "-" for Stdin, or empty: Containerfile or Dockerfile in the context. The path is one
	// of this machine or, unless it is absolute, one inside a context that isn't a directory.
	Dockerfile string
	// IgnoreFile is the path of the ignore file; empty: the one that belongs to the Dockerfile or the context.
	IgnoreFile string
	// Stdin is read if Context or Dockerfile is "-"; nil is empty.
	Stdin io.Reader
	// Tags are image names as the user gives them.
	Tags   []string
	Target string
	// BuildArgs by name; nil is an argument given without a value and not in the environment.
	BuildArgs map[string]*string
	Labels    map[string]string
	Contexts  map[string]plan.NamedContext
	// Platforms are what to build for; none: this machine's, or what the base image is for. Of several, each once, an
	// index is made.
	Platforms []ocispec.Platform
	Outputs   []export.Spec
	// Format is that of the image in the store; empty is OCI's. Outputs have a format of their own.
	Format  Format
	Pull    PullPolicy
	NoCache bool
	// Jobs is how many steps may run at once; 0 lets cooper choose.
	Jobs int
	// SourceDate limits all times in the image; nil: none. A SOURCE_DATE_EPOCH among the build arguments, or before the
	// first FROM, goes before it.
	SourceDate *time.Time
	Run        RunOptions
	Registry   RegistryOptions
	Store      store.Options
	Identity   Identity
	// MaxUsedSpace is how many bytes of disk all that prune can remove may take; 0: any number. What running builds use
	// stays in any case.
	MaxUsedSpace int64
	// Progress is told what happens; nil: nobody is.
	Progress progress.Sink

	// space watches over MaxUsedSpace; nil: nobody does.
	space *reclaim.Space
	// asides counts what is shown beside the steps, in a build and in those that it needs.
	asides progress.Asides
}

// complete gives the fields that nobody has to fill in their values.
func (r *Request) complete() {
	if r.Progress == nil {
		r.Progress = progress.Discard{}
	}
	r.Format = cmp.Or(r.Format, imagebuilder.OCI)
	if r.asides == (progress.Asides{}) {
		r.asides = progress.NewAsides(r.Progress)
	}
}

// inputs is what a request says of contexts and the Dockerfile.
func (r *Request) inputs() inputs.Options {
	return inputs.Options{
		Context: r.Context, Dockerfile: r.Dockerfile, IgnoreFile: r.IgnoreFile, Stdin: r.Stdin, BuildArgs: r.BuildArgs,
		Named: r.Contexts,
		Secret: func(id string) ([]byte, bool) {
			s, ok := r.Run.Secrets[id]
			return s, ok
		},
		Progress: r.Progress, Shown: r.asides,
	}
}

// RegistryOptions say how to reach registries.
type RegistryOptions struct {
	Insecure          bool
	AuthFile, CertDir string
}

// Identity is who builds, and in which user namespaces.
type Identity = rootfs.Identity

// Result is what a build made.
type Result struct {
	// ImageID is the digest of the config, or for several platforms of the store's index.
	ImageID digest.Digest
	// Manifest is the digest of the manifest: that of the last output, or the local store's.
	Manifest digest.Digest
	// Names are the full names the image has now.
	Names []string
	// Steps counts the steps that can make a layer, Cached those of them that were not run.
	Steps, Cached int
	Took          time.Duration
}

// StepError is a step that failed.
type StepError struct {
	// Platforms is what the step is for in a build for several platforms, as in "linux/amd64->arm64"; empty in one for
	// one.
	Platforms string
	// Stage is the stage's name, Step its place there, as in "2/5".
	Stage, Step string
	Location    dockerfile.Location
	// Text is the instruction.
	Text string
	// ExitCode is the command's exit status, 0 if it failed otherwise.
	ExitCode int
	Err      error
}

func (e *StepError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d: ", e.Location.File, e.Location.StartLine)
	if e.Platforms != "" {
		b.WriteString("[" + e.Platforms + "] ")
	}
	fmt.Fprintf(&b, "%s\n%v", plan.FirstLine(e.Text), e.Err)
	return b.String()
}

func (e *StepError) Unwrap() error { return e.Err }

// FullName is a name as images have it in the store: localhost/app:latest for app. It gives what is no name back as it
// is.
func FullName(name string) string {
	full, err := images.NormalizeName(name)
	if err != nil {
		return name
	}
	return full
}

// shownTags are the names of the image as they were given and in full.
func (r *Request) shownTags() []string {
	tags := append([]string{}, r.Tags...)
	for _, t := range r.Tags {
		if full := FullName(t); full != t {
			tags = append(tags, full)
		}
	}
	return tags
}
