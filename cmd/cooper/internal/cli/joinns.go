package cli

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/build"
)

// joinedIdentity is identity with the user namespace at path for RUN steps. This process is where the build is: only
// there can be said whether it can be joined, and which IDs it has.
func joinedIdentity(ctx context.Context, env Env, path string) (build.Identity, error) {
	id, _, err := identity(ctx, env)
	if err != nil {
		return id, err
	}
	id.Steps, id.Asked = nil, true
	id.Joined, err = build.OpenUserNS(path)
	switch {
	case errors.Is(err, build.ErrNotAbove):
		return id, usagef("--userns=ns: %w\nhint: start cooper inside of it (podman unshare cooper build ..., or nsenter), where it stays and RUN steps with it; "+
			"or give --uidmap and --gidmap the same map", err)
	case err != nil:
		return id, usagef("--userns=ns: %w", err)
	case id.Joined != nil:
		id.Steps = &id.Joined.Mapping
	}
	return id, nil
}
