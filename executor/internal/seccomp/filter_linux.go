package seccomp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"runtime"
	"slices"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Filter is the system call filter of a step. It doesn't change, and any number of steps may have it at once.
type Filter struct {
	program []unix.SockFilter
	flags   uintptr
	rules   func() rules
}

// rules are what a filter is made of: a profile, and denials that go before its rules.
type rules struct {
	profile *specs.LinuxSeccomp
	deny    []denial
}

// Program gives the filter as a program for the kernel, which the caller must not change.
func (f *Filter) Program() []unix.SockFilter { return f.program }

// Flags gives the flags of seccomp(2) with which the program is to be installed.
func (f *Filter) Flags() uintptr { return f.flags }

// Ahead gives what a program must deny to whom an OCI runtime starts besides what Runtime says, as a program for the
// kernel that doesn't disturb the runtime; nil: nothing.
func (f *Filter) Ahead() ([]unix.SockFilter, error) { return f.rules().ahead(machine()) }

// Runtime gives the filter for the configuration of an OCI runtime.
func (f *Filter) Runtime() *specs.LinuxSeccomp { return f.rules().forRuntimes(machine()) }

// keyCalls gives the system calls that reach keys. The kernel checks a key's owner, not its namespace, and to the
// kernel a step's root is the caller. So even with a session keyring and user keyrings of its own a step could link any
// key of the caller whose number it finds in /proc/keys or by trying. Therefore no step may make these calls. To a step
// without the usual filter the kernel looks like one without keys, with which runtimes and other programs that want a
// keyring can deal.
func keyCalls() []string { return []string{"add_key", "keyctl", "request_key"} }

// KeysOnly gives the filter of steps that may do everything else: it denies only the calls that reach keys.
func KeysOnly() (*Filter, error) {
	on := machine()
	p := withoutKeys(&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: archs(on)})
	return rules{profile: p}.filter(on)
}

// Default gives the filter of steps for which nobody asks for another: what container engines allow a process with
// these capabilities (names with CAP_), with the changes that Changes lists. Its program for the usual capabilities has
// been made beforehand.
func Default(caps []string) (*Filter, error) {
	decide := func(name string) bool { return slices.Contains(caps, name) }
	if made := slices.DeleteFunc(deciding(), func(name string) bool { return !decide(name) }); !slices.Equal(made,
		usual()) {
		return defaultRules(machine(), caps).filter(machine())
	}
	text := amd64Default
	if runtime.GOARCH == "arm64" {
		text = arm64Default
	}
	program, err := decode(text)
	return &Filter{program: program, flags: usualFlags, rules: func() rules { return defaultRules(machine(), caps) }}, err
}

// deciding are the capabilities on which the engines' list depends.
func deciding() []string {
	return []string{
		"CAP_BPF", "CAP_DAC_READ_SEARCH", "CAP_PERFMON", "CAP_SYSLOG", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT",
		"CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_TIME",
		"CAP_SYS_TTY_CONFIG",
	}
}

// usual are those of them that steps have.
func usual() []string { return []string{"CAP_SYS_CHROOT"} }

// instruction is how many hexadecimal digits an instruction has in a program that has been made beforehand.
const instruction = 16

// encode writes a program down as text.
func encode(program []unix.SockFilter) string {
	var b []byte
	for _, in := range program {
		b = binary.LittleEndian.AppendUint16(b, in.Code)
		b = binary.LittleEndian.AppendUint32(append(b, in.Jt, in.Jf), in.K)
	}
	return hex.EncodeToString(b)
}

func decode(text string) ([]unix.SockFilter, error) {
	b, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("read the system call filter: %w", err)
	}
	program := make([]unix.SockFilter, 0, len(text)/instruction)
	for ; len(b) >= instruction/2; b = b[instruction/2:] {
		program = append(program, unix.SockFilter{
			Code: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:]),
		})
	}
	return program, nil
}

func defaultRules(on []abi, caps []string) rules {
	eperm := uint(unix.EPERM)
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: archs(on)}
	for _, r := range moby.DefaultProfile().Syscalls {
		if applies(r, caps) {
			p.Syscalls = append(p.Syscalls, r.LinuxSyscall)
		}
	}
	for _, c := range Changes() {
		p.Syscalls = append(p.Syscalls, c.rules()...)
	}
	// A family that the list leaves out gets the error of a kernel without it, which programs know.
	p.Syscalls = append(p.Syscalls, errnoRule([]string{"socket"}, unix.EAFNOSUPPORT))
	p = keysUnnamed(p)
	return rules{profile: p, deny: denials()}
}

// applies tells whether a rule of the engines' list is for steps with the capabilities. What it says of kernels is left
// out: all that cooper runs on are newer. So are architectures, if only they decide: rules about calls that one hasn't
// got do nothing there.
func applies(r *moby.Syscall, caps []string) bool {
	has := func(name string) bool { return slices.Contains(caps, name) }
	if r.Excludes != nil && slices.ContainsFunc(r.Excludes.Caps, has) {
		return false
	}
	if r.Includes == nil {
		return true
	}
	ours := func(arch string) bool { return slices.Contains([]string{"amd64", "x86", "arm64", "arm"}, arch) }
	return (len(r.Includes.Arches) == 0 || slices.ContainsFunc(r.Includes.Arches, ours)) &&
		!slices.ContainsFunc(r.Includes.Caps, func(name string) bool { return !has(name) })
}

// withoutKeys makes the kernel look like one without keys, whatever the rules say of them.
func withoutKeys(p *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	p = keysUnnamed(p)
	p.Syscalls = append(p.Syscalls, errnoRule(keyCalls(), unix.ENOSYS))
	return p
}

// keysUnnamed takes the calls that reach keys out of all rules.
func keysUnnamed(p *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	var list []specs.LinuxSyscall
	for _, r := range p.Syscalls {
		if r.Names = without(r.Names, keyCalls()); len(r.Names) > 0 {
			list = append(list, r)
		}
	}
	p.Syscalls = list
	return p
}

const usualFlags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW

// filter makes the filter for a machine that is called in these ways.
func (r rules) filter(on []abi) (*Filter, error) {
	program, err := r.assemble(on)
	if err != nil {
		return nil, err
	}
	flags := uintptr(usualFlags)
	if slices.Contains(r.profile.Flags, specs.LinuxSeccompFlagLog) {
		flags |= unix.SECCOMP_FILTER_FLAG_LOG
	}
	return &Filter{program: program, flags: flags, rules: func() rules { return r }}, nil
}
