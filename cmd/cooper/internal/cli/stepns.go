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

// stepNS is the namespace for RUN steps that the flags ask for.
func (u *usernsFlags) stepNS(ctx context.Context, env Env) (ns build.StepNS, note string, err error) {
	req, err := u.request(os.LookupEnv)
	if err != nil {
		return ns, "", err
	}
	if !u.mapsGiven() && req.Mode.Name == userns.ModeDefault {
		return stepNS(ctx, env)
	}
	caller, err := usernsCaller(ctx, userns.Finder{})
	if err != nil {
		return ns, "", err
	}
	r, err := u.resolve(ctx, caller, userns.Finder{})
	if err != nil {
		return ns, "", err
	}
	if r.NSPath != "" {
		ns, err = joinedNS(r.NSPath)
		return ns, "", err
	}
	if r.Second != nil {
		if err := hasRoot(*r.Second, "a build needs it for files that belong to root"); err != nil {
			return ns, "", err
		}
	}
	ns = build.StepNS{Steps: r.Second, Auto: r.Auto, Asked: true}
	if r.Second != nil && !caller.Root {
		m, err := r.Second.Within(caller.Outer)
		if err != nil {
			return ns, "", err
		}
		ns.Steps = &m
	}
	return ns, "", nil
}
