package stepflags

import (
	"context"
	"errors"
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/userns"
)

// HasRoot refuses a map without container ID 0.
func HasRoot(m userns.Mapping, why string) error {
	for _, kind := range []struct {
		name, flag string
		ids        userns.Map
	}{{"user", userns.OptionUIDMap, m.UIDs}, {"group", userns.OptionGIDMap, m.GIDs}} {
		if len(kind.ids.Missing([]uint32{0})) > 0 {
			return command.Usagef("the map has no container ID 0 for %ss, and %s\nhint: map 0, too, such as %s 0:1:1", kind.name,
				why,
				kind.flag)
		}
	}
	return nil
}

// StepNS is the namespace for RUN steps that the flags ask for.
func (u *Userns) StepNS(ctx context.Context, env command.Env) (ns build.StepNS, note string, err error) {
	req, err := u.Request(os.LookupEnv)
	if err != nil {
		return ns, "", err
	}
	if !u.mapsGiven() && req.Mode.Name == userns.ModeDefault {
		return StepNS(ctx, env)
	}
	caller, err := Caller(ctx, userns.Finder{})
	if err != nil {
		return ns, "", err
	}
	r, err := u.Resolve(ctx, caller, userns.Finder{})
	if err != nil {
		return ns, "", err
	}
	if r.NSPath != "" {
		ns, err = joinedNS(r.NSPath)
		return ns, "", err
	}
	if r.Second != nil {
		if err := HasRoot(*r.Second, "a build needs it for files that belong to root"); err != nil {
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

// StepNS is the usual namespace of RUN steps. note is a line for the user, if there is anything to say.
func StepNS(ctx context.Context, env command.Env) (ns build.StepNS, note string, err error) {
	if env.Inside {
		return ns, "", nil
	}
	if here, err := userns.ThisProcess(); err != nil || !here.Initial {
		// Root of a namespace that somebody else has made: the ranges of /etc/subuid don't exist in it.
		return ns, "", err
	}
	whose, sub, err := userns.Finder{}.FindRoot(ctx)
	if err == nil {
		m, err := userns.Finder{}.StepMap(whose, sub)
		ns.Steps, ns.Ranges = &m, whose
		return ns, "", err
	}
	if !errors.Is(err, userns.ErrNoSubIDs) {
		return ns, "", err
	}
	return ns, "neither root nor containers has a line in /etc/subuid: RUN steps get no user namespace of their own " +
		"(usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 root changes that)", nil
}
