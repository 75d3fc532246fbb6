package build

import (
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/build/why"
)

// Request says what to build. The caller must set Context; the zero value of any other field is a useful default.
type Request struct {
	// Context is what files are copied from: a directory, a tar archive, the URL of a git repository, of an archive or of
	// a Dockerfile, or "-": Stdin is an archive or a Dockerfile.
	Context string
	// Dockerfile is the path of the Dockerfile, a URL, "-" for Stdin, or empty: Containerfile or Dockerfile in the
	// context. With a directory as Context the path is one of this machine; with any other, a relative path is one inside
	// that context.
	Dockerfile string
	// Then are further Dockerfiles, named as Dockerfile is, whose instructions follow those of the first.
	Then []string
	// Preprocess runs files whose name ends in .in through the C preprocessor, with PreprocessorFlags as further
	// arguments.
	Preprocess        bool
	PreprocessorFlags []string
	// IgnoreFile is the path of the ignore file; empty: the one that belongs to the Dockerfile or the context.
	IgnoreFile string
	// Stdin is read if Context or Dockerfile is "-"; nil is empty.
	Stdin io.Reader
	// Tags are image names as the user gives them.
	Tags   []string
	Target string
	// BuildArgs are the values of build arguments by name; nil: the argument was given without a value and the
	// environment has none.
	BuildArgs map[string]*string
	Labels    map[string]string
	// Changes are what is changed of the images besides their labels.
	Changes plan.Changes
	// Image says what is made of the finished image.
	Image    outputs.ImageOptions
	Contexts map[string]plan.NamedContext
	// Platforms are what to build for; none: this machine's, or what the base image is for. For
	// several, each of which may stand here once, the build makes an index.
	Platforms    []ocispec.Platform
	AllPlatforms bool // builds for all that there are base images for; Platforms is empty
	Outputs      []export.Spec
	// Format is the format of the image in the store; empty: OCI's. Outputs have a format of their own.
	Format Format
	Pull   PullPolicy
	// SourcePolicy says which images, repositories and URLs may be used; nil: all.
	SourcePolicy plan.Sources
	NoCache      bool
	Explain      bool // has Progress told why each step runs, or needn't
	TellWhy      bool // has Result.Why say that
	// CacheFrom are the places where results of steps are looked up that the store hasn't got, CacheTo those that get the
	// results of this build's steps. CacheTTL is how old a result may be, in the store too; 0: as old as it is.
	CacheFrom, CacheTo []sharedcache.Spec
	// CacheKey signs what is written to CacheTo, and only what it has signed is read; nil: nothing is signed.
	CacheKey *sharedcache.Key
	CacheTTL time.Duration
	// Fresh are the stages, by name or number, that are run whatever the cache has.
	Fresh []string
	// Together has equal steps of builds that run at once in one session done once; nil: this build has nothing to do with
	// others. What a step with NoCache has made counts for the others, too.
	Together *Together
	// Jobs is how many steps may run at once; 0 lets cooper choose.
	Jobs int
	// SourceDate is the latest time that files and records in the image may have; nil: no limit. A SOURCE_DATE_EPOCH among
	// the build arguments, or before the first FROM, takes precedence over SourceDate.
	SourceDate *time.Time
	// Timestamp is the time that all files and records of the image have, whatever else says a date; nil: none.
	Timestamp *time.Time
	Run       RunOptions
	// StepNS is the user namespace of RUN steps; with the zero value they run in cooper's own.
	StepNS StepNS
	// Stdout receives outputs whose destination is export.Stdout; nil: such outputs are refused.
	Stdout io.Writer
	// MaxUsedSpace is the limit of all that prune could remove, and of what running builds write. What they use isn't
	// removed: if there is no space for what the build writes, it fails.
	MaxUsedSpace DiskLimit
	// Share is in the same way the limit of what builds of the contexts of a project have made.
	Share DiskShare
	// Progress receives the events of the build while it runs; nil: they are dropped.
	Progress progress.Sink
}

// Result is what a build made.
type Result struct {
	// ImageID is the digest of the config, or for several platforms of the store's index.
	ImageID digest.Digest
	// Manifest is the digest of the manifest in the last output or, without outputs, in the local store.
	Manifest digest.Digest
	// Names are the full names that the build has given the image.
	Names []string
	// Steps counts the steps that can make a layer; Cached counts those of them that the cache had and that did not run.
	Steps, Cached int
	Took          time.Duration
	// Why says of each step why it ran or need not run, of a failed build too; empty without Request.TellWhy and Explain.
	Why []why.Step
}
