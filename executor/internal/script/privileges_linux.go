package script

import (
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/step"
)

// What calls are doing, for people: Explain knows the calls by these texts.
const (
	become   = "become the step's user"
	SetLimit = "set the limit "
	Confine  = "ask for the "
)

// BecomeUser gives up all privileges that the step must not have, in the only order that works.
func (s *Script) BecomeUser() {
	s.ScopeSockets() // before the limits, since it needs a descriptor
	s.limit()        // before the user namespace: real root may raise a limit, the root of a namespace may not
	ns := s.C.IDs.File()
	if ns != nil {
		s.Call("enter the user namespace", 0, unix.SYS_SETNS, ns.Fd(), unix.CLONE_NEWUSER)
	}
	security := s.C.Step.Security
	confine(s, security)
	if ns != nil && security.Insecure {
		// The namespaces made so far belong to the caller's user namespace; the new ones belong to the step's, so that the
		// step may change them.
		s.Call("make namespaces", 0, unix.SYS_UNSHARE, unix.CLONE_NEWNS|unix.CLONE_NEWUTS|unix.CLONE_NEWCGROUP)
	}

	s.filterCalls(s.C.Filter.Program(), s.C.Filter.Flags())
	caps := security.Set()
	for c := range uintptr(ids.LastCap() + 1) {
		if caps&(1<<c) == 0 {
			s.Call("drop capabilities", 0, unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c)
		}
	}
	s.Call("drop ambient capabilities", rawproc.Ignoring(unix.EINVAL), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT,
		unix.PR_CAP_AMBIENT_CLEAR_ALL)
	if security.Insecure {
		s.Call("keep capabilities", 0, unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1)
	}
	user := s.C.User
	if s.C.IDs.CanSetGroups() && !s.C.Step.KeepGroups {
		s.Call(become, 0, unix.SYS_SETGROUPS, uintptr(len(user.Groups)), rawproc.Pin(&s.Program, &user.Groups[0]))
	}

	uid, gid := uintptr(user.UID), uintptr(user.GID)
	s.Call(become, 0, unix.SYS_SETRESGID, gid, gid, gid)
	s.Call(become, 0, unix.SYS_SETRESUID, uid, uid, uid)
	s.setCaps(caps & s.C.IDs.Permitted())
	if security.NoNewPrivs {
		s.Call("give up new privileges", 0, unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	}
	s.dieWithParent() // set again: a change of user clears it
}

// confine asks the kernel's security modules for a profile or context that the step's program gets when it is executed.
func confine(s *Script, security step.Security) {
	for _, ask := range []struct{ file, text, doing string }{
		{"/proc/self/attr/apparmor/exec", "exec " + security.AppArmor, Confine + "AppArmor profile " + security.AppArmor},
		{"/proc/self/attr/exec", security.SELinux, Confine + "SELinux context " + security.SELinux},
	} {
		if ask.text == "" || ask.text == "exec " {
			continue
		}
		file := s.Call(ask.doing, 0, unix.SYS_OPENAT, AtFDCWD, s.String(ask.file), unix.O_WRONLY|unix.O_CLOEXEC)
		s.AddFed(rawproc.Op{Doing: ask.doing, Trap: unix.SYS_WRITE,
			Args: [6]uintptr{0, s.String(ask.text), uintptr(len(ask.text))}}, file, 0)
	}
}

// limit sets the step's resource limits.
func (s *Script) limit() {
	s.BoundProcessors()
	for _, l := range s.C.Step.AllLimits() {
		value := rawproc.Pin(&s.Program, &unix.Rlimit{Cur: l.Soft, Max: l.Hard})
		s.Call(SetLimit+l.String(), 0, unix.SYS_PRLIMIT64, 0, uintptr(step.LimitNumbers()[l.Name]), value)
	}
}

// filterCalls installs the system call filter. Without no_new_privs, which would break sudo, the kernel demands
// CAP_SYS_ADMIN for that, so it is done before capabilities are dropped.
func (s *Script) filterCalls(program []unix.SockFilter, flags uintptr) {
	fprog := rawproc.Pin(&s.Program, &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	rawproc.Pin(&s.Program, &program[0])
	s.Call("install the system call filter", 0, unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, fprog)
}

// FilterAhead installs a program that denies system calls to all that the process starts, an OCI runtime too.
func (s *Script) FilterAhead(program []unix.SockFilter) {
	if len(program) > 0 {
		s.filterCalls(program, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW)
	}
}

// setCaps gives root the capabilities, and any user of an insecure step, for whom they must be ambient to outlive an
// exec.
func (s *Script) setCaps(caps step.Caps) {
	insecure := s.C.Step.Security.Insecure
	header := rawproc.Pin(&s.Program, &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3})
	data := new([2]unix.CapUserData)
	if s.C.User.UID == 0 || insecure {
		for i := range data {
			data[i].Permitted = uint32(caps >> (32 * i))
			data[i].Effective = data[i].Permitted
			if insecure {
				data[i].Inheritable = data[i].Permitted
			}
		}
	}
	s.Call("set capabilities", 0, unix.SYS_CAPSET, header, rawproc.Pin(&s.Program, data))
	if !insecure {
		return
	}
	for c := range uintptr(ids.LastCap() + 1) {
		if caps&(1<<c) != 0 {
			s.Call("keep capabilities", rawproc.Ignoring(unix.EINVAL), unix.SYS_PRCTL, unix.PR_CAP_AMBIENT,
				unix.PR_CAP_AMBIENT_RAISE, c)
		}
	}
}
