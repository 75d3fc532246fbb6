package stepflags

import (
	"context"
	"errors"
	"os"
	"os/user"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// Environment variables that say which mode there is without --userns, the first one first.
const (
	EnvUserns       = "COOPER_USERNS"
	EnvPodmanUserns = "PODMAN_USERNS"
)

// Userns are the flags about the user namespace of steps as they are written.
type Userns struct {
	mode                   string
	modeGiven              *pflag.Flag
	uidMaps, gidMaps       []string
	subUIDName, subGIDName string
}

// Register adds the flags about the namespace of RUN steps.
func (u *Userns) Register(f *pflag.FlagSet) { u.RegisterFor(f, "RUN steps") }

// RegisterFor adds the flags about the namespace that whose commands run in.
func (u *Userns) RegisterFor(f *pflag.FlagSet, whose string) {
	f.StringVar(&u.mode, "userns", "",
		"user namespace of "+whose+
			": host, private, keep-id[:uid=N,gid=N], nomap, auto[:size=N,uidmapping=C:F:L,gidmapping=C:F:L] or ns:PATH (one that exists) "+
			"(default $COOPER_USERNS, or else $PODMAN_USERNS)")
	u.modeGiven = f.Lookup("userns")
	f.StringArrayVar(&u.uidMaps, "uidmap", nil,
		"user IDs of the namespace, [+ug]CONTAINER:[@]FROM[:LENGTH]; FROM is an intermediate ID, @FROM a host ID; + extends the map; may be repeated")
	f.StringArrayVar(&u.gidMaps, "gidmap", nil,
		"group IDs of the namespace, likewise; with only one of the two, it is for both but for entries with u or g")
	f.StringVar(&u.subUIDName, "subuidname", "", "map the user IDs that this name has in /etc/subuid")
	f.StringVar(&u.subGIDName, "subgidname", "",
		"map the group IDs that this name has in /etc/subgid (default as the other of the two)")
}

// Given reports whether there is any of the flags.
func (u *Userns) Given() bool { return u.modeGiven.Changed || u.mapsGiven() }

// mapsGiven reports whether there is a flag that gives a map.
func (u *Userns) mapsGiven() bool {
	return len(u.uidMaps)+len(u.gidMaps) > 0 || u.subUIDName != "" || u.subGIDName != ""
}

// Request parses the flags. Who calls, and what is found for names, is still missing in it. env looks variables up.
func (u *Userns) Request(env func(string) (string, bool)) (userns.Request, error) {
	var req userns.Request
	var err error
	if req.Mode, err = u.parseMode(env); err != nil {
		return req, err
	}
	if req.UIDMaps, err = userns.ParseMapFlags(userns.OptionUIDMap, u.uidMaps); err != nil {
		return req, err
	}
	req.GIDMaps, err = userns.ParseMapFlags(userns.OptionGIDMap, u.gidMaps)
	return req, err
}

// parseMode takes the mode from the flag, or from the environment if no flag says anything.
func (u *Userns) parseMode(env func(string) (string, bool)) (userns.Mode, error) {
	if u.Given() {
		return userns.ParseMode(u.mode)
	}
	for _, name := range []string{EnvUserns, EnvPodmanUserns} {
		text, ok := env(name)
		if !ok {
			continue
		}
		m, err := userns.ParseMode(text)
		var bad *userns.RequestError
		if errors.As(err, &bad) {
			bad.Option = name
		}
		return m, err
	}
	return userns.Mode{}, nil
}

// Resolve says which namespaces the flags make for a caller. Errors match userns.ErrBadRequest, or are those of a
// Finder.
func (u *Userns) Resolve(ctx context.Context, caller userns.Caller, finder userns.Finder) (userns.Resolved,
	error) {
	req, err := u.Request(os.LookupEnv)
	if err != nil {
		return userns.Resolved{}, err
	}
	req.Caller = caller
	if req.Named, err = u.named(ctx, finder); err != nil {
		return userns.Resolved{}, err
	}
	return userns.Resolve(req)
}

// named looks up the ranges of the names that were given, if any.
func (u *Userns) named(ctx context.Context, finder userns.Finder) (*userns.SubIDs, error) {
	users, groups := u.subUIDName, u.subGIDName
	if users == "" {
		users = groups
	}
	if groups == "" {
		groups = users
	}
	if users == "" {
		return nil, nil
	}
	sub, err := finder.FindNamed(ctx, ownerNamed(users), ownerNamed(groups))
	var none *userns.NoSubIDsError
	if errors.As(err, &none) && none.Source == "" {
		if _, unknown := user.Lookup(none.User.Name); unknown != nil { // usermod can't help
			return nil, command.Usagef(
				"%s has no line in %s, and there is no such user\nhint: --subuidname and --subgidname take a name that has lines there",
				none.User, strings.Join(none.Files(), " and "))
		}
	}
	return &sub, err
}

// ownerNamed is who has a name; ranges can also be there for the ID.
func ownerNamed(name string) userns.User {
	o := userns.User{Name: name, ID: ^uint32(0)}
	if who, err := user.Lookup(name); err == nil {
		if id, err := strconv.ParseUint(who.Uid, 10, 32); err == nil {
			o.ID = uint32(id)
		}
	}
	return o
}

// Caller says who calls and what the first namespace is, or would be: none is entered.
func Caller(ctx context.Context, finder userns.Finder) (userns.Caller, error) {
	who, err := userns.ThisProcess()
	if err == nil && !who.Root {
		err = reexec.CheckIDs()
	}
	if err != nil {
		return userns.Caller{}, err
	}
	return who.Resolving(ctx, finder)
}
