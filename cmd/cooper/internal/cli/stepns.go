package cli

import (
	"context"
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/userns"
)

// hasRoot refuses a map without container ID 0.
func hasRoot(m userns.Mapping, why string) error {
	for _, kind := range []struct {
		name, flag string
		ids        userns.Map
	}{{"user", userns.OptionUIDMap, m.UIDs}, {"group", userns.OptionGIDMap, m.GIDs}} {
		if len(kind.ids.Missing([]uint32{0})) > 0 {
			return usagef("the map has no container ID 0 for %ss, and %s\nhint: map 0, too, such as %s 0:1:1", kind.name, why,
				kind.flag)
		}
	}
	return nil
}

// identity is identity with the namespace for RUN steps that the flags ask for.
func (u *usernsFlags) identity(ctx context.Context, env Env) (id build.Identity, note string, err error) {
	req, err := u.request(os.LookupEnv)
	if err != nil {
		return id, "", err
	}
	if !u.mapsGiven() && req.Mode.Name == userns.ModeDefault {
		return identity(ctx, env)
	}
	caller, err := usernsCaller(ctx, userns.Finder{})
	if err != nil {
		return id, "", err
	}
	r, err := u.resolve(ctx, caller, userns.Finder{})
	if err != nil {
		return id, "", err
	}
	if r.NSPath != "" {
		id, err = joinedIdentity(ctx, env, r.NSPath)
		return id, "", err
	}
	if r.Second != nil {
		if err := hasRoot(*r.Second, "a build needs it for files that belong to root"); err != nil {
			return id, "", err
		}
	}
	id = build.Identity{Owner: owner(), Steps: r.Second, Auto: r.Auto, Asked: true}
	if caller.Root {
		return id, "", nil
	}
	id.Process = &caller.Outer
	if r.Second != nil {
		m, err := r.Second.Within(caller.Outer)
		if err != nil {
			return id, "", err
		}
		id.Steps = &m
	}
	return id, "", nil
}
