package script

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// scopeABI is the first version of the landlock ABI that can keep a process from abstract sockets (Linux 6.12).
const scopeABI = 6

// ScopesSockets tells whether this kernel can keep steps that have the caller's network from the caller's abstract Unix
// sockets. If it can't, err is EOPNOTSUPP if landlock is switched off, ENOSYS if the kernel has none, and nil if its
// landlock is too old.
func ScopesSockets() (ok bool, err error) {
	version, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return false, errno
	}
	return version >= scopeABI, nil
}

// ScopeSockets keeps the step, and all processes that it starts, from abstract Unix sockets of other processes.
// Abstract sockets have no permissions but belong to a network namespace: a step in the caller's network could reach
// D-Bus, X11 and the like, which would take it for the caller. The sockets that processes of the step make stay usable
// for the step. The landlock rule covers no files, since it must not keep a step or an OCI runtime from mounting. It is
// set before capabilities are dropped, because without no_new_privs, which would break sudo, the kernel demands
// CAP_SYS_ADMIN.
func (s *Script) ScopeSockets() {
	if s.C.HasOwnNetwork() {
		return // a new network has no sockets
	}
	if ok, _ := ScopesSockets(); !ok {
		return
	}
	attr := rawproc.Pin(&s.Program, &unix.LandlockRulesetAttr{Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET})
	const doing = "keep the step from the caller's abstract sockets"
	rule := s.Call(doing, 0, unix.SYS_LANDLOCK_CREATE_RULESET, attr, unsafe.Sizeof(unix.LandlockRulesetAttr{}), 0)
	s.AddFed(rawproc.Op{Doing: doing, Trap: unix.SYS_LANDLOCK_RESTRICT_SELF}, rule, 0)
}
