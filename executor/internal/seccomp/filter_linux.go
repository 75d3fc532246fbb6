package seccomp

import (
	"slices"

	"golang.org/x/sys/unix"
)

// The filter stops system calls that capabilities and namespaces don't: kernel interfaces that had many holes, keys,
// which no namespace separates, and new user namespaces, in which a step would have all capabilities again. Calls that
// aren't listed are allowed, except calls newer than this list.

// highestCall is the newest system call that this list has been checked against, on all architectures (Linux 7.0).
const highestCall = 471

// abi is one way to call the kernel.
type abi struct {
	arch    uint32 // AUDIT_ARCH_*
	private uint32 // calls from this number on are the architecture's own and allowed; 0: there are none
	denied  []call // besides commonDenied
	args    []argRule
}

// call is a system call: its name, by which OCI runtimes know it, and its number in one abi.
type call struct {
	name string
	nr   uint32
}

// argRule denies a call by one of its arguments.
type argRule struct {
	call   call
	arg    uint32 // the argument's index, from 0
	mask   bool   // deny if any bit of values[0] is set, else if the argument equals one of values
	values []uint32
	errno  unix.Errno // the error that the call fails with
}

// numbers are the numbers of those calls in argument rules that have another number in each abi.
type numbers struct{ clone, socket, ioctl uint32 }

const (
	newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
		unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWTIME
	clone3     = 435 // the call's number, which is the same in every abi
	socketcall = "socketcall"
	// tioclinux does on a virtual console what TIOCSTI does.
	tioclinux = 0x541c
)

// commonDenied gives the denied calls that have the same number in every abi, as all newer calls have.
func commonDenied() []call {
	return []call{
		{"io_uring_setup", 425}, {"io_uring_enter", 426}, {"io_uring_register", 427},
		{"open_tree", 428}, {"move_mount", 429}, {"fsopen", 430}, {"fsconfig", 431}, {"fsmount", 432}, {"fspick", 433},
		{"mount_setattr", 442}, {"quotactl_fd", 443},
		{"lsm_set_self_attr", 460},
		{"open_tree_attr", 467},
	}
}

func commonArgs(n numbers) []argRule {
	return []argRule{
		{call: call{"clone", n.clone}, arg: 0, mask: true, values: []uint32{newNamespaces}, errno: unix.EPERM},
		// Network namespaces don't separate these families; AF_VSOCK reaches the hypervisor.
		{call: call{"socket", n.socket}, arg: 0, values: []uint32{unix.AF_ALG, unix.AF_VSOCK}, errno: unix.EAFNOSUPPORT},
		// These ioctls put input into a terminal, which may be the caller's.
		{call: call{"ioctl", n.ioctl}, arg: 1, values: []uint32{unix.TIOCSTI, tioclinux}, errno: unix.EPERM},
	}
}

// keyCalls gives the system calls that reach keys. The kernel checks a key's owner, not its namespace, and to the
// kernel a step's root is the caller. So even with a session keyring and user keyrings of its own a step could link any
// key of the caller whose number it finds in /proc/keys or by trying. Therefore no step may make these calls. To an
// insecure step the kernel looks like one without keys, with which runtimes and other programs that want a keyring can
// deal.
func keyCalls() []string { return []string{"add_key", "keyctl", "request_key"} }

// Filter gives the filter as a program for the kernel. With keysOnly it denies only the calls that reach keys.
func Filter(keysOnly bool) []unix.SockFilter {
	if keysOnly {
		return keyFilter(abis())
	}
	return seccompFilter(abis())
}

// keyFilter gives the filter for steps without the full one: it denies only keyCalls.
func keyFilter(abis []abi) []unix.SockFilter {
	prog := []unix.SockFilter{load(offsetArch)}
	for _, a := range abis {
		// The x32 ABI has the same numbers with a bit added.
		body := []unix.SockFilter{load(offsetNumber), {Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: ^uint32(x32Bit)}}
		for _, c := range a.denied {
			if slices.Contains(keyCalls(), c.name) {
				body = append(body, jump(unix.BPF_JEQ, c.nr, 0, 1), deny(unix.ENOSYS))
			}
		}
		body = append(body, allow())
		prog = append(prog, jump(unix.BPF_JEQ, a.arch, 1, 0), skip(uint32(len(body))))
		prog = append(prog, body...)
	}
	return append(prog, deny(unix.ENOSYS))
}

const (
	x32Bit       = 0x40000000
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16 // each is 8 bytes, of which the low half comes first
)

// seccompFilter gives the filter program for the machine's ABIs: its own, and the 32-bit one that it runs too. A call
// by any other ABI gives ENOSYS.
func seccompFilter(abis []abi) []unix.SockFilter {
	prog := []unix.SockFilter{load(offsetArch)}
	for _, a := range abis {
		body := a.body()
		prog = append(prog, jump(unix.BPF_JEQ, a.arch, 1, 0), skip(uint32(len(body))))
		prog = append(prog, body...)
	}
	return append(prog, deny(unix.ENOSYS))
}

// body decides about a call of the ABI; it never falls off its end.
func (a abi) body() []unix.SockFilter {
	prog := []unix.SockFilter{load(offsetNumber)}
	if a.private != 0 {
		prog = append(prog, jump(unix.BPF_JGE, a.private, 0, 1), allow())
	}

	// Calls of the x32 ABI are above highestCall, too, since it adds a bit to each number.
	prog = append(prog, jump(unix.BPF_JGT, highestCall, 0, 1), deny(unix.ENOSYS))
	// A C library falls back from clone3, whose flags are out of the filter's sight, to clone only after ENOSYS.
	prog = append(prog, jump(unix.BPF_JEQ, clone3, 0, 1), deny(unix.ENOSYS))
	for _, r := range a.args {
		check := []unix.SockFilter{load(offsetArgs + 8*r.arg)}
		test := uint16(unix.BPF_JEQ)
		if r.mask {
			test = unix.BPF_JSET
		}
		for _, v := range r.values {
			check = append(check, jump(test, v, 0, 1), deny(r.errno))
		}
		check = append(check, allow())
		prog = append(prog, jump(unix.BPF_JEQ, r.call.nr, 0, uint8(len(check))))
		prog = append(prog, check...)
	}

	var denied []uint32
	for _, c := range append(slices.Clone(a.denied), commonDenied()...) {
		denied = append(denied, c.nr)
	}
	slices.Sort(denied)
	return append(prog, search(slices.Compact(denied))...)
}

// search denies a call in the sorted list and allows all others. The kernel runs the filter once for every call there
// is when it is installed, so halving the list each time matters.
func search(list []uint32) []unix.SockFilter {
	if len(list) <= 4 {
		var prog []unix.SockFilter
		for _, nr := range list {
			prog = append(prog, jump(unix.BPF_JEQ, nr, 0, 1), deny(unix.EPERM))
		}
		return append(prog, allow())
	}
	middle := len(list) / 2
	low, high := search(list[:middle]), search(list[middle:])
	prog := []unix.SockFilter{jump(unix.BPF_JGE, list[middle], 0, 1), skip(uint32(len(low)))}
	return append(append(prog, low...), high...)
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func jump(test uint16, value uint32, ifTrue, ifFalse uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, Jt: ifTrue, Jf: ifFalse, K: value}
}

func skip(n uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: n} }

func deny(e unix.Errno) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(e)}
}

func allow() unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
}
