package seccomp

import (
	"errors"
	"fmt"
	"slices"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// MaxProfile is how many bytes a profile may have. The engines' own has 12,000.
const MaxProfile = 1 << 20

// Parse makes a filter of a profile in JSON, as docker and podman read it with --security-opt seccomp=FILE: the OCI
// runtime specification's object, or docker's, whose rules may depend on capabilities, architectures and the kernel.
// caps are those of the step, names with CAP_. Calls of which the machine knows no name are left out, as runtimes do.
// Whatever the profile says, the calls that reach keys are denied; see keyCalls.
func Parse(profile []byte, caps []string) (*Filter, error) {
	if len(profile) > MaxProfile {
		return nil, fmt.Errorf("it is larger than %d KiB", MaxProfile>>10)
	}
	forWhom := &specs.Spec{Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: caps}}}
	p, err := moby.LoadProfile(string(profile), forWhom)
	switch {
	case err != nil:
		return nil, err
	case p == nil:
		return nil, errors.New("it has neither defaultAction nor syscalls: use seccomp=unconfined for no filter")
	}
	known := []specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow,
		specs.LinuxSeccompFlagWaitKillableRecv, "SECCOMP_FILTER_FLAG_TSYNC"}
	for _, f := range p.Flags {
		if !slices.Contains(known, f) {
			return nil, fmt.Errorf("there is no flag %.60q", f)
		}
	}
	return rules{profile: withoutKeys(p)}.filter(machine())
}
