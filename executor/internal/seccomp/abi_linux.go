package seccomp

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// abi is one way to call the kernel.
type abi struct {
	arch    uint32            // AUDIT_ARCH_*
	name    specs.Arch        // as profiles name it
	x32     bool              // calls with x32Bit are those of x32, which profiles name for itself
	private uint32            // calls from this number on are the architecture's own; 0: there are none
	calls   map[string]uint32 // the numbers of all calls
}

// abis gives the ways to call a machine of an architecture, as Go names it: its own, and that of older 32-bit programs,
// which it runs too. 32-bit ARM has no socketcall, and the kernel's OABI support is not built for 64-bit kernels.
func abis(goarch string) []abi {
	if goarch == "arm64" {
		return []abi{
			{arch: unix.AUDIT_ARCH_AARCH64, name: specs.ArchAARCH64, calls: numbers(arm64Calls)},
			{arch: unix.AUDIT_ARCH_ARM, name: specs.ArchARM, private: 0xf0000, calls: numbers(armCalls)},
		}
	}
	return []abi{
		{arch: unix.AUDIT_ARCH_X86_64, name: specs.ArchX86_64, x32: true, calls: numbers(amd64Calls)},
		{arch: unix.AUDIT_ARCH_I386, name: specs.ArchX86, calls: numbers(i386Calls)},
	}
}

// numbers reads NAME NUMBER of calls, with a space behind each.
func numbers(list string) map[string]uint32 {
	byName := make(map[string]uint32, 512)
	for list != "" {
		name, rest, _ := strings.Cut(list, " ")
		var number string
		number, list, _ = strings.Cut(rest, " ")
		nr, _ := strconv.ParseUint(number, 10, 32)
		byName[name] = uint32(nr)
	}
	return byName
}

// newest gives the highest number of a call that rules name. Calls of an architecture's own don't count.
func (a abi) newest(p *specs.LinuxSeccomp) uint32 {
	newest := uint32(0)
	for _, r := range p.Syscalls {
		for _, name := range r.Names {
			if nr, ok := a.calls[name]; ok && (a.private == 0 || nr < a.private) {
				newest = max(newest, nr)
			}
		}
	}
	return newest
}

// machine gives the ways to call this machine's kernel.
func machine() []abi { return abis(runtime.GOARCH) }

// archs are the names of ABIs, by which OCI runtimes know them. The x32 way of calling an amd64 kernel is one because
// calls of one that isn't listed would kill the process, even on a kernel that knows no x32.
func archs(abis []abi) []specs.Arch {
	var list []specs.Arch
	for _, a := range abis {
		list = append(list, a.name)
		if a.x32 {
			list = append(list, specs.ArchX32)
		}
	}
	return list
}
