package executor

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// scopeABI is the first version of landlock that can keep a process from abstract sockets (Linux 6.12).
const scopeABI = 6

// ScopesSockets says whether this kernel can keep steps that have the caller's network from the caller's abstract Unix
// sockets. Err is what it answers where it can't: EOPNOTSUPP if landlock is switched off, ENOSYS if there is none, and
// nil if it is too old.
func ScopesSockets() (ok bool, err error) {
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return false, errno
	}
	return version >= scopeABI, nil
}

// scopeSockets keeps the step, and all that it starts, from abstract Unix sockets that others have made. These have no
// permissions but belong to a network, so that a step in the caller's network would find D-Bus, X11 and the like there,
// and be the caller to them. What processes of the step make is theirs. The rule handles no files: it must not keep a
// step, or an OCI runtime, from mounting. It is made before capabilities go, because without no_new_privs, which would
// break sudo, the kernel asks for CAP_SYS_ADMIN.
func (s *script) scopeSockets() {
	if s.c.step.Network == networkNone {
		return // a new network has no sockets
	}
	if ok, _ := ScopesSockets(); !ok {
		return
	}
	attr := rawproc.Pin(&s.Program, &unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET})
	const doing = "keep the step from the caller's abstract sockets"
	rule := s.call(doing, 0, unix.SYS_LANDLOCK_CREATE_RULESET, attr, unsafe.Sizeof(unix.LandlockRulesetAttr{}), 0)
	s.AddFed(rawproc.Op{Doing: doing, Trap: unix.SYS_LANDLOCK_RESTRICT_SELF}, rule, 0)
}
