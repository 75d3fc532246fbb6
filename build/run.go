package build

import (
	"context"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/runstep"
)

// RunOptions hold for every RUN step.
type RunOptions = runstep.Options

// DNS is what the /etc/resolv.conf of RUN steps says instead of the host's.
type DNS = runstep.DNS

// MaxSecret is the largest secret in bytes.
const MaxSecret = runstep.MaxSecret

// A Secret is at most MaxSecret bytes that nothing may print.
type Secret = runstep.Secret

// ExitError is a command that ended with another status than 0.
type ExitError = runstep.ExitError

// A Volume is a directory or file of the host that every RUN step sees.
type Volume = runstep.Volume

// ParseVolume reads HOST:TARGET[:OPTION,...].
func ParseVolume(text string) (Volume, error) { return runstep.ParseVolume(text) }

// A Runtime is an OCI runtime that RUN steps can be given to; see FindRuntime.
type Runtime = runstep.Runtime

// FindRuntime finds the OCI runtime of a name; see runstep.FindRuntime.
func FindRuntime(ctx context.Context, name string) (*Runtime, error) {
	return runstep.FindRuntime(ctx, name)
}

// CheckRuntimeName finds names that FindRuntime never finds.
func CheckRuntimeName(name string) error { return runstep.CheckRuntimeName(name) }

// CheckKeepBundle refuses a directory with something in it: what is of this build could not be told from it.
func CheckKeepBundle(dir string) error { return runstep.CheckKeepBundle(dir) }

// ParsePlatforms reads the values of --platform; see runstep.ParsePlatforms.
func ParsePlatforms(texts []string) ([]ocispec.Platform, error) { return runstep.ParsePlatforms(texts) }

// RunDir is where the builds of a user note the steps that run, by the user's host ID.
func RunDir(uid uint32) (string, error) { return runstep.RunDir(uid) }
