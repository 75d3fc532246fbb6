package stepflags

import (
	"errors"

	"github.com/cooperbuild/cooper/executor/joined"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// joinedNS is the user namespace at path for RUN steps. This process is where the build is: only there can be said
// whether it can be joined, and which IDs it has.
func joinedNS(path string) (ns build.StepNS, err error) {
	ns.Asked = true
	ns.Joined, err = joined.Open(path)
	switch {
	case errors.Is(err, joined.ErrNotAbove):
		return ns, command.Usagef(
			"--userns=ns: %w\nhint: start cooper inside of it (podman unshare cooper build ..., or nsenter), where it stays and RUN steps with it; "+
				"or give --uidmap and --gidmap the same map", err)
	case err != nil:
		return ns, command.Usagef("--userns=ns: %w", err)
	case ns.Joined != nil:
		ns.Steps = &ns.Joined.Mapping
	}
	return ns, nil
}
