package ids

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns"
)

// Pair is the owner and group of a file.
type Pair struct{ UID, GID uint32 }

// Namespace is the user namespace of a step, and the mapping through which the step sees files on disk.
type Namespace struct {
	mapping *userns.Mapping // its mapping; nil if the step stays in the caller's user namespace
	shifted bool            // the files on disk have the host IDs of mapping, so that no mount is ID-mapped
	joined  *joined.UserNS  // the namespace that the step joins instead of a new one; nil without one
	file    *os.File        // the namespace of mapping, opened by Enter; nil without mapping
	nested  *os.File        // the namespace that Emulate makes for a step without mapping; nil in other steps
	root    Pair            // what Root gives; set by Enter
	own     []*os.File      // files that Close closes
}

// New gives the namespace of the step, which Enter makes. A step that may have CAP_SYS_ADMIN gets one below the
// caller's, with the same IDs, if it has no other. In the caller's namespace the step would have power over the
// caller's mounts, too: since Linux 6.18 a process with CAP_SYS_ADMIN can open any mount namespace of its user
// namespace by a file handle, and enter it with setns(2). In the initial user namespace that changes nothing: there
// root has power over everything.
func New(s step.Step) (*Namespace, error) {
	n := &Namespace{mapping: s.Mapping, shifted: s.Shifted, joined: s.UserNS}
	if n.mapping != nil || s.Security.Set()&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return n, nil
	}
	own, err := n.Mapping()
	if err != nil || userns.InInitial(own) {
		return n, err
	}
	below := own.Nested()
	n.mapping, n.shifted = &below, true
	return n, nil
}

// Enter makes the step's user namespace, or takes the one that it is to join, and finds out who is root in it. Close
// must be called also after an error.
func (n *Namespace) Enter() (err error) {
	m := n.mapping
	switch {
	case m == nil:
		return nil
	case n.joined != nil:
		n.file = n.joined.File
	default:
		if n.file, err = overlay.NewUserNS(*m); err != nil {
			return err
		}
		n.own = append(n.own, n.file)
	}

	if n.root.UID, err = m.UIDs.ToHost(0); err != nil {
		return err
	}
	n.root.GID, err = m.GIDs.ToHost(0)
	return err
}

// Close closes what Enter and Emulate have opened, which ends a namespace that no process is in.
func (n *Namespace) Close() {
	for _, f := range slices.Backward(n.own) {
		f.Close()
	}
}

// File gives the user namespace that the step enters, nil if it stays in the caller's.
func (n *Namespace) File() *os.File {
	if n.file != nil {
		return n.file
	}
	return n.nested
}

// Own gives the mapping of the user namespace that the step has for itself or joins, nil if it has the caller's IDs.
func (n *Namespace) Own() *userns.Mapping { return n.mapping }

// Mapping gives the mapping of the user namespace that the step will be in.
func (n *Namespace) Mapping() (userns.Mapping, error) {
	if n.mapping != nil {
		return *n.mapping, nil
	}
	return userns.CurrentMapping()
}

// Root gives the container's root, in IDs of the caller's user namespace. Enter must have been called.
func (n *Namespace) Root() Pair { return n.root }

// CanSetGroups says whether the step's supplementary groups can be set. They can't in a user namespace that an ordinary
// user has made without newgidmap, nor in one below it.
func (n *Namespace) CanSetGroups() bool {
	if n.joined != nil {
		return !n.joined.NoGroups
	}
	b, err := os.ReadFile("/proc/self/setgroups")
	return err != nil || strings.TrimSpace(string(b)) != "deny"
}

// LastCap is the highest capability that the kernel knows.
func LastCap() int {
	last := unix.CAP_LAST_CAP
	for last < 63 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(last+1), 0, 0, 0); err != nil {
			break
		}
		last++
	}
	return last
}

// Permitted is the set of capabilities that the step can get: all that the kernel knows in a new user namespace, else
// those of this process.
func (n *Namespace) Permitted() step.Caps {
	if n.mapping != nil {
		return step.AllCaps >> (63 - LastCap())
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return 0
	}
	return step.Caps(caps[0].Permitted) | step.Caps(caps[1].Permitted)<<32
}

// Check refuses a user with IDs that the step's user namespace leaves out.
func (n *Namespace) Check(u step.User) error {
	others := slices.ContainsFunc(u.Groups, func(gid uint32) bool { return gid != 0 })
	// The step's user is the root of the caller's user namespace, as this process is.
	if n.mapping == nil && u.UID == 0 && u.GID == 0 && !others {
		return nil
	}
	m, err := n.Mapping()
	if err != nil {
		return err
	}
	groups := []uint32{u.GID}
	if n.CanSetGroups() {
		groups = append(groups, u.Groups...)
	}
	for _, gid := range groups {
		if _, _, err := m.ToHost(u.UID, gid); err != nil {
			return err
		}
	}
	return nil
}
