package script

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/step"
)

// OwnNamespaces gives the CLONE_NEW* flags of those namespaces that the step may share and doesn't. That of control
// groups isn't made with the process if the process is moved to another group later, since its root would be the
// caller's.
func OwnNamespaces(c *container.Container) (flags uintptr) {
	shared := c.Step.Shared
	if shared.IPC.IsOwn() {
		flags |= unix.CLONE_NEWIPC
	}
	if shared.UTS.IsOwn() {
		flags |= unix.CLONE_NEWUTS
	}
	if shared.ControlGroups.IsOwn() && !c.Bounds.Group {
		flags |= unix.CLONE_NEWCGROUP
	}
	return flags
}

// JoinNamespaces moves the child into namespaces that exist, and makes the control group that it has been moved to the
// root of all that it sees of them.
func (s *Script) JoinNamespaces() {
	shared := s.C.Step.Shared
	for _, ns := range []struct {
		name string
		step.Namespace
		kind uintptr
	}{
		{"IPC", shared.IPC, unix.CLONE_NEWIPC}, {"UTS", shared.UTS, unix.CLONE_NEWUTS},
		{"control group", shared.ControlGroups, unix.CLONE_NEWCGROUP},
	} {
		if ns.File != nil {
			s.Call("join the "+ns.name+" namespace", 0, unix.SYS_SETNS, ns.File.Fd(), ns.kind)
		}
	}
	if s.C.Bounds.Group && shared.ControlGroups.IsOwn() {
		s.Call("make a control group namespace", 0, unix.SYS_UNSHARE, unix.CLONE_NEWCGROUP)
	}
}

// BoundProcessors binds the step to the processors that it may use.
func (s *Script) BoundProcessors() {
	if set := s.C.Bounds.Processors; set != nil {
		s.Call("bind the step to its processors", 0, unix.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(*set),
			rawproc.Pin(&s.Program, set))
	}
}

// reservedPIDs is how many of the first process IDs the kernel doesn't give again, once it has given all others.
const reservedPIDs = 300

// BoundPIDs limits how many processes the child's pid namespace can have, by the highest process ID. proc is where its
// proc is, below the directory dir. Before Linux 6.14 the number is the whole machine's and is left alone.
func BoundPIDs(s *Script, proc string, dir uintptr) {
	n := s.C.Bounds.PIDs
	if n == 0 || s.C.Step.Shared.ShowProcesses || !kernelHasPIDLimits() {
		return
	}
	how := rawproc.Pin(&s.Program, &unix.OpenHow{Flags: unix.O_WRONLY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
	const doing = "limit the step's processes"
	file := s.Call(doing, rawproc.IgnoreAll, unix.SYS_OPENAT2, dir, s.String(proc+"/sys/kernel/pid_max"), how,
		unix.SizeofOpenHow)
	text := []byte(strconv.FormatInt(n+reservedPIDs, 10))
	s.AddFed(rawproc.Op{Doing: doing, Trap: unix.SYS_WRITE, Args: [6]uintptr{0, s.Bytes(text), uintptr(len(text))},
		Ignore: rawproc.IgnoreAll}, file, 0)
}

// kernelHasPIDLimits says that each pid namespace has a highest process ID of its own.
func kernelHasPIDLimits() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	return isAtLeast(unix.ByteSliceToString(name.Release[:]), 6, 14)
}

// isAtLeast compares a release such as 6.14.2-generic with a version.
func isAtLeast(release string, major, minor int) bool {
	var have [2]int
	for i := range have {
		n := 0
		for n < len(release) && release[n] >= '0' && release[n] <= '9' {
			n++
		}
		v, err := strconv.Atoi(release[:n])
		if err != nil {
			return false
		}
		have[i] = v
		release = release[min(len(release), n+1):]
	}
	return have[0] > major || have[0] == major && have[1] >= minor
}
