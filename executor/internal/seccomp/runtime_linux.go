package seccomp

import (
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/spec"
)

// RuntimeFilter gives the filter for the configuration of an OCI runtime. With keysOnly it denies only the calls that
// reach keys.
func RuntimeFilter(keysOnly bool) *spec.Filter {
	f := filterSpec(abis())
	if keysOnly {
		f.Args = nil
		f.Denied = []spec.Denied{{Calls: keyCalls(), Errno: uint(unix.ENOSYS)}}
	}
	return f
}

// filterSpec gives the system call filter with names in place of numbers. It leaves socketcall out, because runtimes
// apply a rule for socket to socketcall as well.
func filterSpec(abis []abi) *spec.Filter {
	f := &spec.Filter{}
	denied := spec.Denied{Errno: uint(unix.EPERM)}
	add := func(calls []call) {
		for _, c := range calls {
			denied.Calls = append(denied.Calls, c.name)
		}
	}
	for _, a := range abis {
		f.Archs = append(f.Archs, archOf(a.arch))
		add(a.denied)
	}
	add(commonDenied())
	f.Denied = []spec.Denied{denied, {Calls: []string{"clone3"}, Errno: uint(unix.ENOSYS)}}
	for _, r := range abis[0].args {
		f.Args = append(f.Args, spec.ArgRule{Call: r.call.name, Arg: uint(r.arg), Mask: r.mask, Values: r.values,
			Errno: uint(r.errno)})
	}
	return f
}

func archOf(audit uint32) string {
	return map[uint32]string{
		unix.AUDIT_ARCH_X86_64: "amd64", unix.AUDIT_ARCH_I386: "386", unix.AUDIT_ARCH_AARCH64: "arm64",
		unix.AUDIT_ARCH_ARM: "arm",
	}[audit]
}
