package spec

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Filter is a system call filter: what it doesn't name is allowed.
type Filter struct {
	Archs  []string // GOARCH names of the ways to call the kernel, the machine's own first
	Denied []Denied
	Args   []ArgRule
}

// Denied are calls that fail with an error whatever their arguments.
type Denied struct {
	Calls []string // names, as in the kernel's tables
	Errno uint     // the error that they fail with
}

// ArgRule denies a call by one of its arguments, of which only the low 32 bits count, as in the kernel.
type ArgRule struct {
	Call   string // its name
	Arg    uint   // the argument's index, from 0
	Mask   bool   // deny if any bit of Values[0] is set, else if the argument equals one of Values
	Values []uint32
	Errno  uint // the error that the call fails with
}

// seccomp writes the filter down. A runtime's library looks at 64 bits of an argument, so that every comparison has a
// mask.
func (f *Filter) seccomp() *specs.LinuxSeccomp {
	if f == nil {
		return nil
	}
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for _, arch := range f.Archs {
		s.Architectures = append(s.Architectures, architectures(arch)...)
	}
	for _, d := range f.Denied {
		errno := d.Errno
		names := slices.Clone(d.Calls)
		slices.Sort(names)
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: slices.Compact(names), Action: specs.ActErrno,
			ErrnoRet: &errno})
	}
	for _, r := range f.Args {
		s.Syscalls = append(s.Syscalls, r.syscalls()...)
	}
	return s
}

func (r ArgRule) syscalls() []specs.LinuxSyscall {
	var list []specs.LinuxSyscall
	deny := func(mask, value uint32) {
		errno := r.Errno
		list = append(list, specs.LinuxSyscall{
			Names: []string{r.Call}, Action: specs.ActErrno, ErrnoRet: &errno,
			Args: []specs.LinuxSeccompArg{{Index: r.Arg, Value: uint64(mask), ValueTwo: uint64(value), Op: specs.OpMaskedEqual}},
		})
	}
	for _, v := range r.Values {
		if !r.Mask {
			deny(^uint32(0), v)
			continue
		}
		for bit := uint32(1); bit != 0; bit <<= 1 {
			if v&bit != 0 {
				deny(bit, bit)
			}
		}
	}
	return list
}

// architectures gives the specification's names for a GOARCH name. The x32 way of calling an amd64 kernel is listed
// because calls of an unlisted one would kill the process, even on a kernel that knows no x32.
func architectures(goarch string) []specs.Arch {
	switch goarch {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64, specs.ArchX32}
	case "386":
		return []specs.Arch{specs.ArchX86}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64}
	case "arm":
		return []specs.Arch{specs.ArchARM}
	}
	return nil
}
