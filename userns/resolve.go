package userns

import (
	"errors"
	"fmt"
)

// Resolve says which user namespaces a request makes. It is pure: the request holds the ranges that were found. Errors
// match [ErrBadRequest], or are those of [Default].
func Resolve(req Request) (Resolved, error) {
	if err := req.conflict(); err != nil {
		return Resolved{}, err
	}
	r := Resolved{Mode: req.Mode, Outer: req.Caller.outer()}
	base, err := req.Caller.base()
	if err != nil {
		return Resolved{}, err
	}

	switch {
	case req.Named != nil:
		r.Mode.Name = ModePrivate
		r.Second, err = req.named()
	case len(req.UIDMaps)+len(req.GIDMaps) > 0:
		r.Mode.Name = ModePrivate
		r.Second, err = req.mapped(base)
	default:
		err = r.byMode(req.Caller, base)
	}

	if err == nil {
		err = r.writable()
	}
	if err != nil {
		return Resolved{}, err
	}

	return r, nil
}

// writable gives an error if the kernel would refuse the second mapping, which is written from inside the first
// namespace.
func (r Resolved) writable() error {
	if r.Second == nil {
		return nil
	}
	m, err := r.Second.Within(r.Outer)
	if err == nil {
		if err = m.UIDs.Writable(); err == nil {
			err = m.GIDs.Writable()
		}
	}
	if errors.Is(err, ErrBadMap) {
		return &RequestError{Option: "the map asked for", Err: err}
	}
	return nil // IDs that the first namespace lacks were reported before, or are when the namespace is made
}

// conflict finds options that exclude each other.
func (req Request) conflict() error {
	var what string
	switch maps := len(req.UIDMaps)+len(req.GIDMaps) > 0; {
	case maps && req.Named != nil:
		return &RequestError{Option: "--uidmap and --gidmap",
			Problem: "exclude --subuidname and --subgidname: either gives the whole map"}
	case maps:
		what = "--uidmap and --gidmap"
	case req.Named != nil:
		what = "--subuidname and --subgidname"
	default:
		return nil
	}
	switch req.Mode.Name {
	case ModeDefault, ModePrivate:
		return nil
	case ModeHost:
		return badMode(req.Mode.String(),
			fmt.Sprintf("there is no namespace for the map of %s: leave --userns out or make it private", what))
	}
	return badMode(req.Mode.String(), fmt.Sprintf("excludes %s: this mode makes the map itself", what))
}

// outer gives the mapping of the first namespace. Root has no first namespace, so for root it is the identity.
func (c Caller) outer() Mapping {
	if !c.Root {
		return c.Outer
	}
	all := Map{{Length: MaxID + 1}}
	return Mapping{UIDs: all, GIDs: all}
}

// base gives the mapping, container IDs to intermediate IDs, of a private namespace without flags, which a flag with
// "+" extends. It is empty for root without ranges.
func (c Caller) base() (Mapping, error) {
	if !c.Root {
		return Mapping{UIDs: identity(c.Outer.UIDs), GIDs: identity(c.Outer.GIDs)}, nil
	}
	m, err := FromSubIDs(c.Sub)
	if errors.Is(err, ErrNoSubIDs) {
		return Mapping{}, nil
	}
	return m, err
}

// identity maps the IDs that are inside m to themselves.
func identity(m Map) Map {
	return merge(m.nested())
}

// byMode sets the fields that the mode determines without --uidmap, --gidmap and the named ranges.
func (r *Resolved) byMode(c Caller, base Mapping) error {
	if c.Root && (r.Mode.Name == ModeKeepID || r.Mode.Name == ModeNoMap) {
		return badMode(r.Mode.String(),
			"this mode is for ordinary users, and this is root: use host, private, auto or --uidmap")
	}
	if c.Root && len(base.UIDs) == 0 && (r.Mode.Name == ModePrivate || r.Mode.Name == ModeAuto) {
		return &RequestError{Option: "--userns", Value: r.Mode.String(), Problem: "there is nothing to map",
			Err: c.Sub.check(User{Name: "root"})}
	}

	switch r.Mode.Name {
	case ModeDefault:
		if c.Root && len(base.UIDs) > 0 {
			r.Second = &base
		}
	case ModePrivate:
		if !c.Root {
			return badMode(r.Mode.String(),
				fmt.Sprintf("there is no map for this namespace: give it one, such as --uidmap 0:0:%d, or leave --userns out",
					base.UIDs.Highest()+1))
		}
		r.Second = &base
	case ModeKeepID:
		r.Second = keepIDs(r.Mode.KeepID, c, base)
	case ModeNoMap:
		r.Second = &Mapping{UIDs: noMap(base.UIDs), GIDs: noMap(base.GIDs)}
		if len(r.Second.UIDs) == 0 || len(r.Second.GIDs) == 0 {
			return badMode(r.Mode.String(), "without the user's own ID there is nothing to map")
		}
	case ModeAuto:
		return r.auto(c, base)
	case ModeNS:
		r.NSPath = r.Mode.NSPath
	}

	return nil
}

// keepIDs gives the second mapping of [ModeKeepID].
func keepIDs(k KeepID, c Caller, base Mapping) *Mapping {
	uid, gid := c.UID, c.GID
	if k.UID != nil {
		uid = *k.UID
	}
	if k.GID != nil {
		gid = *k.GID
	}
	return &Mapping{UIDs: keepID(base.UIDs, uid), GIDs: keepID(base.GIDs, gid)}
}

// keepID maps the container ID id to intermediate ID 0, which is the user's own, and the other container IDs, from 0
// on, to the intermediate IDs from 1 on.
func keepID(inner Map, id uint32) Map {
	last := inner.Highest() // intermediate IDs are 0 to last
	below := min(id, last)
	m := Map{{Container: id, Length: 1}}
	if below > 0 {
		m = Map{{Host: 1, Length: below}, m[0]}
	}
	if last > id {
		m = append(m, Range{Container: id + 1, Host: id + 1, Length: last - id})
	}
	return m
}

// noMap gives the map without intermediate ID 0, which is the user's own: container ID 0 is intermediate ID 1.
func noMap(inner Map) Map {
	if inner.Highest() == 0 {
		return nil
	}
	return Map{{Host: 1, Length: inner.Highest()}}
}

// auto sets Auto. The IDs to choose from are the subordinate IDs of an ordinary user, or root's ranges.
func (r *Resolved) auto(c Caller, base Mapping) error {
	a := AutoOptions{Size: r.Mode.Auto.Size, Available: SubIDs{UIDs: spans(base.UIDs), GIDs: spans(base.GIDs)}}
	if !c.Root {
		a.Available = SubIDs{UIDs: spans(noMap(base.UIDs)), GIDs: spans(noMap(base.GIDs))}
	}
	for _, kind := range []struct {
		option string
		flags  []MapFlag
		outer  Map
		to     *[]Range
	}{{"uidmapping", r.Mode.Auto.UIDs, r.Outer.UIDs, &a.UIDs}, {"gidmapping", r.Mode.Auto.GIDs, r.Outer.GIDs, &a.GIDs}} {
		b := mapBuilder{outer: kind.outer, outerHosts: kind.outer.Invert()}
		for _, f := range kind.flags {
			if err := b.add(f); err != nil {
				return badMode(r.Mode.String(), kind.option+": "+err.Error())
			}
		}
		*kind.to = b.ranges
	}
	r.Auto = &a
	return nil
}

// spans gives the ranges of IDs on the host side of a map.
func spans(m Map) []SubIDRange {
	s := make([]SubIDRange, len(m))
	for i, r := range m {
		s[i] = SubIDRange{Start: r.Host, Count: r.Length}
	}
	return s
}

// named gives the second mapping of --subuidname and --subgidname: container IDs from 0 on are mapped to the owners'
// ranges.
func (req Request) named() (*Mapping, error) {
	m, err := FromSubIDs(*req.Named)
	if err != nil {
		return nil, &RequestError{Option: "--subuidname and --subgidname", Err: err}
	}
	if req.Caller.Root {
		return &m, nil
	}
	hosts := Mapping{UIDs: req.Caller.Outer.UIDs.Invert(), GIDs: req.Caller.Outer.GIDs.Invert()}
	m, err = m.Compose(hosts)
	var unmapped *UnmappedError
	if errors.As(err, &unmapped) {
		option := "--subuidname"
		if unmapped.Kind == KindGID {
			option = "--subgidname"
		}
		return nil, &RequestError{Option: option,
			Problem: fmt.Sprintf("%s %d is not in your own ranges, and an ordinary user can map no others", unmapped.Kind,
				unmapped.ID)}
	}
	return &m, err
}

// optionFlag is a flag with the name of the option, --uidmap or --gidmap, that has it.
type optionFlag struct {
	option string
	MapFlag
}

// split gives the flags for the user map and those for the group map.
func (req Request) split() (uids, gids []optionFlag) {
	for _, f := range req.UIDMaps {
		plain := !f.Users && !f.Groups
		if f.Users || plain {
			uids = append(uids, optionFlag{OptionUIDMap, f})
		}
		if f.Groups || plain && len(req.GIDMaps) == 0 {
			gids = append(gids, optionFlag{OptionUIDMap, f})
		}
	}
	for _, f := range req.GIDMaps {
		plain := !f.Users && !f.Groups
		if f.Users || plain && len(req.UIDMaps) == 0 {
			uids = append(uids, optionFlag{OptionGIDMap, f})
		}
		if f.Groups || plain {
			gids = append(gids, optionFlag{OptionGIDMap, f})
		}
	}
	return uids, gids
}

// mapped gives the second mapping of --uidmap and --gidmap.
func (req Request) mapped(base Mapping) (*Mapping, error) {
	uids, gids := req.split()
	outer := req.Caller.outer()
	var m Mapping
	var err error
	if m.UIDs, err = flagMap(OptionUIDMap, uids, outer.UIDs, base.UIDs); err != nil {
		return nil, err
	}
	if m.GIDs, err = flagMap(OptionGIDMap, gids, outer.GIDs, base.GIDs); err != nil {
		return nil, err
	}
	return &m, nil
}
