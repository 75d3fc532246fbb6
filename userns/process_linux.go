package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// Environment variables that tell containers/storage and podman that they run in a user namespace, and by which user
// and group IDs the caller is known outside of it.
const (
	envConfigured = "_CONTAINERS_USERNS_CONFIGURED"
	envCallerUID  = "_CONTAINERS_ROOTLESS_UID"
	envCallerGID  = "_CONTAINERS_ROOTLESS_GID"
)

// Process says which user called this process, and which user namespace it is in.
type Process struct {
	// Caller is the user, and GID the group, that called the program, with their IDs in the namespace of that call. A
	// process in a namespace that was made for the call reads them from the environment variables of CallerEnv.
	Caller User
	GID    uint32
	// Mapping is the mapping of the namespace that the process is in.
	Mapping Mapping
	// Initial tells that this is the initial user namespace of the machine.
	Initial bool
	// Root tells that the process is root of that namespace, Mounts that it may mount there.
	Root, Mounts bool
}

// ThisProcess describes this process. If the kernel doesn't tell which namespace it is in, the error says why, and the
// result is that of a process in the initial user namespace.
func ThisProcess() (Process, error) {
	_, gid := OwnIDs()
	p := Process{Caller: CallingUser(), GID: gid, Root: IsRoot(), Mounts: MayMount()}
	if p.Root {
		p.GID = callerID(envCallerGID, gid)
	}
	var err error
	p.Mapping, err = CurrentMapping()
	p.Initial = err != nil || InInitial(p.Mapping)
	return p, err
}

// OwnIDs gives the user and group ID of this process in the namespace that it is in.
func OwnIDs() (uid, gid uint32) { return uint32(os.Getuid()), uint32(os.Getgid()) }

// CallingUser gives the user who called the program, even in a process of the namespace that was made for the call.
func CallingUser() User {
	uid, _ := OwnIDs()
	o := User{ID: callerID(envCallerUID, uid)}
	if u, err := user.LookupId(strconv.FormatUint(uint64(o.ID), 10)); err == nil {
		o.Name = u.Username
	}
	return o
}

// callerID gives an ID of the caller: the value of an environment variable, or own, this process's ID, if it isn't set.
func callerID(variable string, own uint32) uint32 {
	if id, err := strconv.ParseUint(os.Getenv(variable), 10, 32); err == nil {
		return uint32(id)
	}
	return own
}

// CallerEnv gives the environment variables, NAME=VALUE, that tell a process in a namespace made by this one who the
// caller is.
func CallerEnv() []string {
	uid, gid := OwnIDs()
	return []string{
		envConfigured + "=done", fmt.Sprintf("%s=%d", envCallerUID, uid), fmt.Sprintf("%s=%d", envCallerGID, gid),
	}
}

// Own is the map of the namespace that this process is in; nil for the initial one, in which IDs are host IDs.
func (p Process) Own() *Mapping {
	if p.Initial {
		return nil
	}
	return &p.Mapping
}

// Enters gives the mapping of the namespace that builds of this process enter, if they don't run in its own, and the
// subordinate IDs in it. The mapping for root has all IDs of its own namespace.
func (p Process) Enters(ctx context.Context) (m Mapping, sub SubIDs, err error) {
	if p.Root {
		return p.Mapping.Nested(), sub, nil
	}
	return p.Finder().UserMap(ctx, p.Caller, p.GID)
}

// Finder gives a finder that knows which IDs the namespace of this process has.
func (p Process) Finder() Finder {
	if p.Initial {
		return Finder{}
	}
	return Finder{Own: &p.Mapping}
}

// Resolving gives the caller for a request to [Resolve], with the mapping of the first namespace that builds would
// enter; it enters none. Root may have no ranges.
func (p Process) Resolving(ctx context.Context, finder Finder) (c Caller, err error) {
	c = Caller{UID: p.Caller.ID, GID: p.GID, Root: p.Root && p.Initial && p.Mounts}
	switch {
	case c.Root:
		var whose User
		if whose, c.Sub, err = finder.FindRoot(ctx); errors.Is(err, ErrNoSubIDs) {
			return c, nil
		}
		if err == nil {
			_, err = finder.StepMap(whose, c.Sub)
		}
	// the process is inside, or in a namespace that another program made, or root that would enter one with the same IDs
	case p.Root:
		c.Outer, c.Inside = p.Mapping, true
		if !p.Mounts {
			c.Outer = p.Mapping.Nested()
		}
	default:
		c.Outer, _, err = finder.UserMap(ctx, p.Caller, c.GID)
	}
	return c, err
}
