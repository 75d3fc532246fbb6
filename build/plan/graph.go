package plan

import (
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// A Graph is the immutable plan of one build: every step the target needs and no other.
type Graph struct {
	// Steps is in topological order; Steps[i].ID == i.
	Steps []*Step
	// Target is the stage the image is made from.
	Target *Stage
	// Stages are the reachable stages in file order.
	Stages []*Stage
	// SourceDate is the value of SOURCE_DATE_EPOCH, by build argument or by an ARG before the first FROM; empty if it has
	// none.
	SourceDate string
	// Warnings are remarks on the Dockerfile, in file order.
	Warnings []dockerfile.Warning
}

// A Stage is one FROM with the instructions that follow it.
type Stage struct {
	// Index counts all stages of the file from 0. Name is the AS name in lower case, or the index in decimal. The stage
	// made for an image that files are only copied from has Index -1 and the image's name, and is not in Graph.Stages.
	Index int
	Name  string
	// Last is the stage's final step, never nil: a stage without instructions ends in its base step.
	Last *Step
	// Image is the config of the finished stage. RootFS and the times are not filled in.
	Image imagebuilder.Image
}

// A Step makes at most one layer on top of its parent.
type Step struct {
	ID    int
	Stage *Stage
	// Parent is the step whose file system this one starts from; nil only for a base step on scratch or an image.
	// A stage built FROM another stage has that stage's last step as parent of its first.
	Parent *Step
	// Deps are the steps that must be done first, Parent among them, without repeats.
	Deps []*Step
	// Platforms says, for progress, which platform or platforms the step is for; empty in the plan of one image. Combine
	// sets it.
	Platforms string
	// WantedBy are the platforms of the images that need the step; none in the plan of one image. Combine sets it.
	WantedBy []ocispec.Platform
	// Number and Total place the step in its stage, as in "[builder 3/7]". As in docker's output only steps that make or
	// take layers count: FROM of an image, RUN, COPY, ADD and WORKDIR. Number is 0 for a step that doesn't count.
	Number, Total int
	// Fresh tells that the step is to be done whatever the cache has.
	Fresh    bool
	Location dockerfile.Location
	// Text is the instruction as progress and errors show it, without secrets.
	Text string
	// CreatedBy is the history entry's created_by text; empty for a base step, whose history is the image's own, and for
	// ONBUILD, which docker's history doesn't mention.
	CreatedBy string
	// Comment is that of the history entry; no instruction of a Dockerfile gives one.
	Comment string
	Op      Op
	// Image is the config after this step. Consecutive Config steps of a stage share one config, that of the last of them.
	Image *imagebuilder.Image
}

// FirstLine is the first line of an instruction, with dots where there are more.
func FirstLine(s string) string {
	line, _, more := strings.Cut(s, "\n")
	if more {
		line += " ..."
	}
	return line
}

// Op is what a step does: one of *Base, *Config, *Run, *Copy, *Workdir.
type Op interface{ op() }

// Base starts a stage on an image, or on nothing.
type Base struct {
	// Ref is the image as written in FROM after expansion; empty for scratch.
	Ref string
	// Image is the image that the resolver found; the zero value for scratch.
	Image imagebuilder.Base
}

// Config changes the image config and no file.
type Config struct{}

// Workdir makes sure that a directory exists.
type Workdir struct {
	// Path is absolute and clean.
	Path string
	// User owns the directories that have to be made, as in the image config, names unresolved; empty means 0:0.
	User string
}

// Run executes a command.
type Run struct {
	// Args is the whole argument vector, the shell included.
	Args []string
	// Env is KEY=VALUE, the image's environment first, then the build arguments, in the order in which they are passed.
	Env []string
	// ProxyEnv is KEY=VALUE, to be passed after Env and to win over it: the predefined proxy variables, such as
	// HTTP_PROXY, that --build-arg or the environment sets and that Env doesn't have. It must get into no cache key and no
	// history.
	ProxyEnv []string
	// Platform is the platform of the programs that the command runs.
	Platform ocispec.Platform
	// Cwd is absolute. User is as in the image config, names unresolved; empty means 0:0.
	Cwd, User string
	Mounts    []Mount
	// Network is "default", "host" or "none".
	Network string
	// Insecure asks for all capabilities that the step's user namespace has (--security=insecure).
	Insecure bool
	// Devices are those of --device.
	Devices []Device
	// Hostname is the host name of the step; empty: the default one.
	Hostname string
	// Files are heredoc scripts to be shown to the step, outside every layer.
	Files []InlineFile
}

// Device is one that a RUN asks for.
type Device struct {
	Name     string // a path, or a name of CDI's
	Required bool   // the step fails without it
}

// MountType says what a RUN --mount is made of.
type MountType string

// The mount types that can be built.
const (
	MountBind   MountType = "bind"
	MountCache  MountType = "cache"
	MountTmpfs  MountType = "tmpfs"
	MountSecret MountType = "secret"
	MountSSH    MountType = "ssh"
)

// Sharing says how concurrent steps use one cache mount.
type Sharing string

// The sharing modes of a cache mount.
const (
	SharingShared  Sharing = "shared"
	SharingPrivate Sharing = "private"
	SharingLocked  Sharing = "locked"
)

// A Mount is one RUN --mount.
type Mount struct {
	Type MountType
	// From is the origin of the content of a bind or cache mount; its zero value is the build context for a bind mount
	// and an empty directory for a cache mount.
	From Input
	// Source is a path below From, absolute and clean: "/" for all of it.
	Source string
	// Target is absolute and clean; empty for a secret without a file.
	Target   string
	ReadOnly bool
	// ID names a cache mount (equal to its target as written unless id= is given), a secret or an SSH agent.
	ID      string
	Sharing Sharing
	// Mode, UID and GID (container IDs) are those of a secret's file, an agent's socket, or a cache directory when it is
	// made. Owned tells that the instruction gives at least one of them.
	Mode     uint32
	UID, GID uint32
	Owned    bool
	// Env is the name of the environment variable that holds a secret; empty: none does.
	Env string
	// Required makes it an error if the secret or agent isn't given.
	Required bool
	// SizeBytes limits a tmpfs; 0 is the kernel's default.
	SizeBytes int64
}

// InputKind says what kind of thing an Input names.
type InputKind int

// The kinds of input.
const (
	// InputNone is the zero value.
	InputNone InputKind = iota
	// InputContext is the main context (Name empty) or a named one.
	InputContext
	// InputStep is the result of another stage: Step is its last step.
	InputStep
	// InputImage is an image given by name: Step is the base step made for it.
	InputImage
)

// An Input is a build context, a stage or an image that files are taken from.
type Input struct {
	Kind InputKind
	// Name is the named context, the stage or the image as written.
	Name string
	Step *Step
}

// Copy is COPY or ADD.
type Copy struct {
	From Input
	// Unpack tells that local archives are unpacked, as ADD does unless it has --unpack=false.
	Unpack bool
	// Link makes a layer that doesn't depend on the layers below it, and is made without looking at them (--link).
	Link bool
	// Parents keeps the directories that a source is in, those after "/./" if the source has that.
	Parents bool
	// Excludes are the patterns of --exclude: files that match one are not copied. Variables in them are not expanded.
	Excludes []string
	// Sources are local paths and patterns, as written after expansion, Files the heredocs. At least one of Sources, Files
	// and Remotes isn't empty.
	Sources []string
	Files   []InlineFile
	// Remotes are the sources of ADD that are fetched.
	Remotes []Remote
	// Dest is absolute; a trailing slash as written is kept, for it means a directory.
	Dest string
	// Chown and Chmod are as written after expansion: "user:group", "0755", "u+x". Empty: keep or default.
	Chown, Chmod string
}

// A Remote is a source of ADD that isn't a local file: the URL of one, or a git repository.
type Remote struct {
	// Text is the source as written after expansion, without credentials.
	Text string
	// Before counts the Sources that are copied before it.
	Before int
	// URL is an http or https URL, with the credentials that were written into it; empty for a repository. Name is the
	// file's name in a destination directory.
	URL, Name string
	// Git is the repository. The flags of ADD are already applied to its Checksum and KeepGitDir.
	Git remote.Git
	// Checksum of a URL's file is ALGORITHM:HEX, or empty.
	Checksum string
	// Unpack tells that the file is unpacked if it is an archive.
	Unpack bool
}

// An InlineFile is a heredoc. Path is a name for COPY and an absolute path for RUN.
type InlineFile struct {
	Path string
	Mode uint32
	Data []byte
}

func (*Base) op()    {}
func (*Config) op()  {}
func (*Workdir) op() {}
func (*Run) op()     {}
func (*Copy) op()    {}
