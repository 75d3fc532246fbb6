package build

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/outputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/together"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/runtimes"
	"github.com/cooperbuild/cooper/build/internal/sendimage"
	"github.com/cooperbuild/cooper/build/internal/steps"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// The names below belong to other packages; callers of package build need them and have them from here.

// Session is what many builds in one process share: the open store, how registries are reached, and who calls.
type Session = session.Session

// SessionOptions say what a session shares; see session.Options.
type SessionOptions = session.Options

// Retries say how often what has failed for a reason that may pass is tried again.
type Retries = registry.Retries

// RegistryOptions say how to reach registries.
type RegistryOptions = session.Registry

// NewSession makes a session, which opens its store when that is needed. The caller closes it.
func NewSession(o SessionOptions) *Session { return session.New(o) }

// DiskLimit is how much disk space may be used.
type DiskLimit = reclaim.Limit

// DiskShare is how much of the disk space the builds of a project may use.
type DiskShare = reclaim.Share

// StoreOptions say which image store is used; see store.Options.
type StoreOptions = store.Options

// StorageDrivers are the storage drivers that a store can have.
func StorageDrivers() []string { return store.Drivers() }

// StoreError says why the store can't be opened: it names what is wrong with this machine, its files or its settings.
type StoreError = store.OpenError

// ErrMachine is behind errors that are the machine's fault and not the build's.
var ErrMachine = store.ErrMachine

// HandleReexec does what this process was started for, if another cooper started it as a helper, and tells whether so.
func HandleReexec() bool { return store.HandleReexec() }

// StepError is a step that failed.
type StepError = steps.StepError

// ExitError is a command that ended with another status than 0.
type ExitError = runstep.ExitError

// Format says whose format an image's manifest has, OCI's or Docker's.
type Format = imagebuilder.Format

// ParseFormat reads the value of --format.
func ParseFormat(text string) (Format, error) { return imagebuilder.ParseFormat(text) }

// Changes are what the command line changes of the images that a Dockerfile describes.
type Changes = plan.Changes

// ImageOptions say what is made of a finished image.
type ImageOptions = outputs.ImageOptions

// Squash says which layers of an image become one.
type Squash = outputs.Squash

// The values of Squash.
const (
	SquashNone = outputs.SquashNone
	SquashNew  = outputs.SquashNew
	SquashAll  = outputs.SquashAll
)

// Together are builds that run at once in one session and do equal steps once. NewTogether makes one.
type Together = together.Group

// NewTogether makes a group that no build is of yet.
func NewTogether() *Together { return together.New() }

// NamedContext is the value of one --build-context.
type NamedContext = plan.NamedContext

// Stdin as a context or a Dockerfile is standard input.
const Stdin = inputs.Stdin

// ParseContext reads a named context; see inputs.ParseContext.
func ParseContext(text string) (string, NamedContext, error) { return inputs.ParseContext(text) }

// PullPolicy says when a base image is fetched from its registry.
type PullPolicy = bases.PullPolicy

// The pull policies; the zero value is PullMissing.
const (
	PullMissing = bases.PullMissing
	PullAlways  = bases.PullAlways
	PullNewer   = bases.PullNewer
	PullNever   = bases.PullNever
)

// PushRequest says which image is pushed, and where to.
type PushRequest = sendimage.Request

// Pushed is what was pushed.
type Pushed = sendimage.Pushed

// CheckPushName refuses names that an image can't be pushed to.
func CheckPushName(name string) error { return outputs.CheckPushName(name) }

// Push pushes an image of the session's store. A tag is moved when all of the image is there.
func Push(ctx context.Context, s *Session, req PushRequest) (Pushed, error) {
	return sendimage.Push(ctx, s, req)
}

// StepNS says which user namespace RUN steps get.
type StepNS = rootfs.StepNS

// RunOptions are settings that apply to every RUN step of a build.
type RunOptions = runstep.Options

// Resources are limits of what all processes of a RUN step take together.
type Resources = runstep.Resources

// IORate is a limit of what a RUN step moves from or to a disk.
type IORate = runstep.IORate

// DNS is what the /etc/resolv.conf of RUN steps says instead of the host's.
type DNS = runstep.DNS

// MaxSecret is the largest secret in bytes.
const MaxSecret = runstep.MaxSecret

// A Secret is at most MaxSecret bytes that nothing may print.
type Secret = runstep.Secret

// A Volume is a directory or file of the host that every RUN step sees.
type Volume = runstep.Volume

// ParseVolume reads HOST:TARGET[:OPTION,...].
func ParseVolume(text string) (Volume, error) { return runstep.ParseVolume(text) }

// A Runtime is an OCI runtime that RUN steps can be given to; see FindRuntime.
type Runtime = runstep.Runtime

// FindRuntime finds the OCI runtime of a name; see runtimes.FindRuntime.
func FindRuntime(ctx context.Context, name string) (*Runtime, error) {
	return runtimes.FindRuntime(ctx, name)
}

// CheckRuntimeName refuses names that FindRuntime can find on no machine.
func CheckRuntimeName(name string) error { return runtimes.CheckRuntimeName(name) }

// CheckKeepBundle refuses a directory that isn't empty: nobody could tell the files of the bundle from the others.
func CheckKeepBundle(dir string) error { return runtimes.CheckKeepBundle(dir) }

// ParsePlatforms reads the values of --platform; see runstep.ParsePlatforms.
func ParsePlatforms(texts []string) ([]ocispec.Platform, error) { return runstep.ParsePlatforms(texts) }

// RunDir is where the builds of a user note the steps that run, by the user's host ID.
func RunDir(uid uint32) (string, error) { return runstep.RunDir(uid) }
