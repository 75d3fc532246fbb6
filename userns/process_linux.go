package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
)

// Environment variables by which containers/storage and podman know that they are in a user namespace, and whose.
const (
	envConfigured = "_CONTAINERS_USERNS_CONFIGURED"
	envCallerUID  = "_CONTAINERS_ROOTLESS_UID"
	envCallerGID  = "_CONTAINERS_ROOTLESS_GID"
)

// Process says who has called this process, and which user namespace it is in.
type Process struct {
	// Caller is the user, and GID the group, by IDs of the namespace that the program was called in: a process inside one
	// that was made for it knows them by its environment.
	Caller Owner
	GID    uint32
	// Mapping is that of the namespace that the process is in.
	Mapping Mapping
	// Initial says that this is the machine's own.
	Initial bool
	// Root says that the process is root there, and Mounts that it may mount, too.
	Root, Mounts bool
}

// ThisProcess looks at this process. Where the kernel doesn't say which namespace it is in, the error says why and the
// rest holds for the machine's own.
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

// OwnIDs are the IDs that this process has in the namespace that it is in.
func OwnIDs() (uid, gid uint32) { return uint32(os.Getuid()), uint32(os.Getgid()) }

// CallingUser is who has called, also inside the namespace that was made for the call.
func CallingUser() Owner {
	uid, _ := OwnIDs()
	o := Owner{ID: callerID(envCallerUID, uid)}
	if u, err := user.LookupId(strconv.FormatUint(uint64(o.ID), 10)); err == nil {
		o.Name = u.Username
	}
	return o
}

// callerID is an ID of the caller's: that of a variable, or this process's own where nobody has set one.
func callerID(variable string, own uint32) uint32 {
	if id, err := strconv.ParseUint(os.Getenv(variable), 10, 32); err == nil {
		return uint32(id)
	}
	return own
}

// CallerEnv are the variables by which a process in a namespace that this one makes knows who has called.
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

// Enters gives the map of the namespace that builds enter if they don't stay where they are started. Root's has all IDs
// that there are.
func (p Process) Enters(ctx context.Context) (m Mapping, sub SubIDs, err error) {
	if p.Root {
		return p.Mapping.Nested(), sub, nil
	}
	return p.Finder().UserMap(ctx, p.Caller, p.GID)
}

// Finder looks ranges up in the namespace that this process is in, which may not have all IDs.
func (p Process) Finder() Finder {
	if p.Initial {
		return Finder{}
	}
	return Finder{Own: &p.Mapping}
}

// Resolving gives what [Resolve] wants to know of the caller: what the first namespace is, or would be, for none is
// entered. Root without ranges has none.
func (p Process) Resolving(ctx context.Context, finder Finder) (c Caller, err error) {
	c = Caller{UID: p.Caller.ID, GID: p.GID, Root: p.Root && p.Initial && p.Mounts}
	switch {
	case c.Root:
		var whose Owner
		if whose, c.Sub, err = finder.FindRoot(ctx); errors.Is(err, ErrNoSubIDs) {
			return c, nil
		}
		if err == nil {
			_, err = finder.StepMap(whose, c.Sub)
		}
	// inside, in a namespace that something else has made, or before entering one with the same IDs
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
