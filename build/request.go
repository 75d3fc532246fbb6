package build

import (
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
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
	// StepNS is the user namespace of RUN steps; the zero value is none besides cooper's own.
	StepNS StepNS
	// Stdout is what is written to outputs whose destination is export.Stdout; nil: there can be none.
	Stdout io.Writer
	// MaxUsedSpace is how many bytes of disk all that prune can remove may take; 0: any number. What running builds use
	// stays in any case.
	MaxUsedSpace int64
	// Progress is told what happens; nil: nobody is.
	Progress progress.Sink
}

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
