package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A Change is one in which the default filter allows more than the engines' list.
type Change struct {
	Calls  []string // names of system calls
	Values []uint64 // of the first argument with which they are allowed; none: with any arguments
	Why    string   // for people, in docs/decisions/seccomp.md
}

// Values of personality(2).
const (
	linux32   = 0x8
	uname26   = 0x20000
	noASLR    = 0x40000
	tioclinux = 0x541c // does on a virtual console what TIOCSTI does
)

// Changes gives all of them.
func Changes() []Change {
	return []Change{
		{
			Calls:  []string{"personality"},
			Values: []uint64{noASLR, noASLR | linux32, noASLR | uname26, noASLR | uname26 | linux32},
			Why: "debuggers, sanitizers and Lisps switch address randomisation off for themselves (`setarch -R`); " +
				"a program that gains privileges has it again",
		},
		{
			Calls: []string{"get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"},
			Why: "they place memory of the caller itself, and the kernel asks for no capability; " +
				"podman and buildah allow them, data bases and MPI use them",
		},
		{
			Calls: []string{"pidfd_getfd"},
			Why: "it takes what ptrace takes, which is allowed, and reaches only processes of the step: " +
				"there are no others in its pid namespace",
		},
	}
}

func (c Change) rules() []specs.LinuxSyscall {
	if len(c.Values) == 0 {
		return []specs.LinuxSyscall{{Names: c.Calls, Action: specs.ActAllow}}
	}
	var list []specs.LinuxSyscall
	for _, v := range c.Values {
		list = append(list, specs.LinuxSyscall{
			Names: c.Calls, Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{{Index: 0, Value: v, Op: specs.OpEqualTo}},
		})
	}
	return list
}

// denial denies a call by one of its arguments, of which only the low 32 bits count, as in the kernel.
type denial struct {
	call   string
	arg    uint // the argument's index, from 0
	values []uint32
	errno  unix.Errno // the error that the call fails with
}

const (
	socketcall = "socketcall"
	// socketcallSocket is how older 32-bit programs make sockets. The address family is in memory there, out of the
	// filter's sight.
	socketcallSocket = 1
	newNamespaces    = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
)

// denials are what the default filter denies of calls that the engines' list allows.
func denials() []denial {
	return []denial{
		// These ioctls put input into a terminal, which may be the caller's.
		{call: "ioctl", arg: 1, values: []uint32{unix.TIOCSTI, tioclinux}, errno: unix.EPERM},
		{call: socketcall, values: []uint32{socketcallSocket}, errno: unix.ENOSYS},
		// The list leaves these out, too. With OCI runtimes, this gives them the error of a kernel without them.
		{call: "socket", values: []uint32{unix.AF_ALG, unix.AF_VSOCK}, errno: unix.EAFNOSUPPORT},
	}
}

func without(list, names []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(name string) bool { return slices.Contains(names, name) })
}
