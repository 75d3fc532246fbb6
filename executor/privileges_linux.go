package executor

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/internal/seccomp"
)

const (
	become   = "become the step's user"
	setLimit = "set the limit "
)

// becomeUser gives up all privileges that the step must not have, in the only order that works.
func (s *script) becomeUser() {
	s.scopeSockets() // before the limits, since it needs a descriptor
	s.limit()        // real root may raise a limit, the root of a namespace may not
	ns := s.c.ownUserNS()
	if ns != nil {
		s.call("enter the user namespace", 0, unix.SYS_SETNS, ns.Fd(), unix.CLONE_NEWUSER)
	}

	security := s.c.step.Security
	if ns != nil && security.Insecure {
		// The namespaces made so far belong to the caller's user namespace; the new ones belong to the step's, so that the
		// step may change them.
		s.call("make namespaces", 0, unix.SYS_UNSHARE, unix.CLONE_NEWNS|unix.CLONE_NEWUTS|unix.CLONE_NEWCGROUP)
	}

	s.filterCalls(seccomp.Filter(security.Insecure || security.NoFilter))
	caps := security.caps()
	for c := range uintptr(lastCap() + 1) {
		if caps&(1<<c) == 0 {
			s.call("drop capabilities", 0, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c)
		}
	}

	s.call("drop ambient capabilities", rawproc.Ignoring(unix.EINVAL), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT,
		unix.PR_CAP_AMBIENT_CLEAR_ALL)
	if security.Insecure {
		s.call("keep capabilities", 0, unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	}

	user := s.c.user
	if s.c.canSetGroups() {
		s.call(become, 0, unix.SYS_SETGROUPS, uintptr(len(user.Groups)), rawproc.Pin(&s.Program, &user.Groups[0]))
	}

	uid, gid := uintptr(user.UID), uintptr(user.GID)
	s.call(become, 0, unix.SYS_SETRESGID, gid, gid, gid)
	s.call(become, 0, unix.SYS_SETRESUID, uid, uid, uid)
	s.setCaps(caps & s.c.permitted())
	if security.NoNewPrivs {
		s.call("give up new privileges", 0, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	s.dieWithParent() // set again: a change of user clears it
}

func (s *script) limit() {
	for _, l := range s.c.step.Limits {
		value := rawproc.Pin(&s.Program, &unix.Rlimit{Cur: l.Soft, Max: l.Hard})
		s.call(setLimit+l.String(), 0, unix.SYS_PRLIMIT64, 0, uintptr(limitNumbers()[l.Name]), value)
	}
}

// filterCalls installs the filter. Without no_new_privs, which would break sudo, that needs CAP_SYS_ADMIN, so it comes
// before capabilities go.
func (s *script) filterCalls(filter []unix.SockFilter) {
	fprog := rawproc.Pin(&s.Program, &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	rawproc.Pin(&s.Program, &filter[0])
	s.call("install the system call filter", 0, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, fprog)
}

// setCaps gives root the capabilities, and any user of an insecure step, for whom they must be ambient to outlive an
// exec.
func (s *script) setCaps(caps Caps) {
	insecure := s.c.step.Security.Insecure
	header := rawproc.Pin(&s.Program, &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3})
	data := new([2]unix.CapUserData)
	if s.c.user.UID == 0 || insecure {
		for i := range data {
			data[i].Permitted = uint32(caps >> (32 * i))
			data[i].Effective = data[i].Permitted
			if insecure {
				data[i].Inheritable = data[i].Permitted
			}
		}
	}
	s.call("set capabilities", 0, unix.SYS_CAPSET, header, rawproc.Pin(&s.Program, data))
	if !insecure {
		return
	}
	for c := range uintptr(lastCap() + 1) {
		if caps&(1<<c) != 0 {
			s.call("keep capabilities", rawproc.Ignoring(unix.EINVAL), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT,
				unix.PR_CAP_AMBIENT_RAISE, c)
		}
	}
}

// canSetGroups tells whether supplementary groups can be set. In a namespace that an ordinary user has made without the
// setuid helpers they can't, nor in one below it.
func (c *container) canSetGroups() bool {
	if c.step.UserNS != nil {
		return !c.step.UserNS.NoGroups
	}
	b, err := os.ReadFile("/proc/self/setgroups")
	return err != nil || strings.TrimSpace(string(b)) != "deny"
}

// lastCap is the highest capability that the kernel knows.
func lastCap() int {
	last := unix.CAP_LAST_CAP
	for last < 63 {
		if _, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(last+1), 0, 0, 0); err != nil {
			break
		}
		last++
	}
	return last
}

// permitted gives the capabilities that the step can get: those of the caller, or all of the kernel's in a new user
// namespace.
func (c *container) permitted() Caps {
	if c.step.Mapping != nil {
		return allCaps >> (63 - lastCap())
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return 0
	}
	return Caps(caps[0].Permitted) | Caps(caps[1].Permitted)<<32
}
