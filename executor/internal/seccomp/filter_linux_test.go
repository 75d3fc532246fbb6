package seccomp

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	moby "github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	allowed = unix.SECCOMP_RET_ALLOW
	eperm   = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	enosys  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	noproto = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
)

func defaultFilter(t testing.TB, caps ...string) *Filter {
	t.Helper()
	f, err := Default(caps)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// evaluate runs a filter on one call, as the kernel would.
func evaluate(t testing.TB, prog []unix.SockFilter, arch, call uint32, args ...uint64) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(prog); pc++ {
		in := prog[pc]
		test := func(ok bool) {
			if ok {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		}
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			switch in.K {
			case offsetNumber:
				a = call
			case offsetArch:
				a = arch
			default:
				i := (in.K - offsetArgs) / 8
				a = 0
				if int(i) < len(args) {
					a = uint32(args[i] >> (32 * ((in.K - offsetArgs) / 4 % 2)))
				}
			}
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JEQ:
			test(a == in.K)
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JGT:
			test(a > in.K)
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JGE:
			test(a >= in.K)
		case unix.BPF_JMP | unix.BPF_K | unix.BPF_JSET:
			test(a&in.K != 0)
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
	}
	t.Fatal("fell off the end")
	return 0
}

// decide tells what a filter does with a call of the machine's own ABI.
func decide(t testing.TB, f *Filter, call string, args ...uint64) uint32 {
	t.Helper()
	own := machine()[0]
	nr, ok := own.calls[call]
	if !ok {
		t.Fatalf("there is no call %s", call)
	}
	return evaluate(t, f.Program(), own.arch, nr, args...)
}

func TestTheDefaultFilterDecides(t *testing.T) {
	f, admin := defaultFilter(t, usual()...), defaultFilter(t, append(usual(), "CAP_SYS_ADMIN")...)
	for _, test := range []struct {
		call        string
		args        []uint64
		want, admin uint32
	}{
		{"read", nil, allowed, allowed},
		{"chroot", nil, allowed, allowed},
		{"ptrace", nil, allowed, allowed},
		{"mount", nil, eperm, allowed},
		{"unshare", nil, eperm, allowed},
		{"bpf", nil, eperm, allowed},
		{"reboot", nil, eperm, eperm},
		{"init_module", nil, eperm, eperm},
		{"io_uring_setup", nil, eperm, eperm},
		{"userfaultfd", nil, eperm, eperm},
		{"kexec_load", nil, eperm, eperm},
		{"keyctl", nil, eperm, eperm},
		{"add_key", nil, eperm, eperm},
		{"request_key", nil, eperm, eperm},
		{"clone3", nil, enosys, allowed},
		{"clone", []uint64{uint64(unix.SIGCHLD)}, allowed, allowed},
		{"clone", []uint64{unix.CLONE_NEWUSER}, eperm, allowed},
		{"clone", []uint64{7<<32 | unix.CLONE_NEWNET}, eperm, allowed},
		{"socket", []uint64{unix.AF_INET6}, allowed, allowed},
		{"socket", []uint64{unix.AF_NETLINK}, allowed, allowed},
		{"socket", []uint64{unix.AF_VSOCK}, noproto, noproto},
		{"socket", []uint64{1<<32 | unix.AF_VSOCK}, noproto, noproto},
		{"socket", []uint64{unix.AF_ALG}, noproto, noproto},
		{"ioctl", []uint64{0, unix.TIOCSTI}, eperm, eperm},
		{"ioctl", []uint64{0, 1<<32 | unix.TIOCSTI}, eperm, eperm},
		{"ioctl", []uint64{unix.TIOCSTI, tioclinux}, eperm, eperm},
		{"ioctl", []uint64{0, unix.TIOCGWINSZ}, allowed, allowed},
		{"personality", []uint64{0xffffffff}, allowed, allowed},
		{"personality", []uint64{0x40000}, allowed, allowed},
		{"personality", []uint64{0x400000}, eperm, eperm}, // READ_IMPLIES_EXEC
		{"mbind", nil, allowed, allowed},
		{"open_by_handle_at", nil, eperm, eperm},
		{"rseq_slice_yield", nil, enosys, enosys},
	} {
		if got := decide(t, f, test.call, test.args...); got != test.want {
			t.Errorf("%s %x: %#x, want %#x", test.call, test.args, got, test.want)
		}
		if got := decide(t, admin, test.call, test.args...); got != test.admin {
			t.Errorf("with CAP_SYS_ADMIN %s %x: %#x, want %#x", test.call, test.args, got, test.admin)
		}
	}
}

func TestCallsThatNobodyKnowsDoNotExist(t *testing.T) {
	f := defaultFilter(t, usual()...)
	for _, a := range machine() {
		for _, nr := range []uint32{2000, x32Bit, x32Bit + 1, 1 << 31, ^uint32(0)} {
			if a.private != 0 && nr >= a.private {
				continue
			}
			if got := evaluate(t, f.Program(), a.arch, nr); got != enosys {
				t.Errorf("%s %d: %#x", a.name, nr, got)
			}
		}
	}
	if got := evaluate(t, f.Program(), 0x1234, 1); got != enosys {
		t.Errorf("unknown architecture: %#x", got)
	}
	if got := len(f.Program()); got > 1000 {
		t.Errorf("%d instructions", got)
	}
}

// TestOlderProgramsMakeNoSocketsUnseen: socketcall has its arguments in memory, where the filter can't look.
func TestOlderProgramsMakeNoSocketsUnseen(t *testing.T) {
	f := defaultFilter(t, usual()...)
	for _, a := range machine() {
		nr, ok := a.calls[socketcall]
		if !ok {
			continue
		}
		if got := evaluate(t, f.Program(), a.arch, nr, socketcallSocket); got != enosys {
			t.Errorf("%s: %#x", a.name, got)
		}
		if got := evaluate(t, f.Program(), a.arch, nr, 3); got != allowed {
			t.Errorf("%s, connect: %#x", a.name, got)
		}
	}
}

func TestStepsWithoutAFilterAreKeptFromKeys(t *testing.T) {
	f, err := KeysOnly()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range machine() {
		for name, nr := range a.calls {
			want := uint32(allowed)
			if slices.Contains(keyCalls(), name) {
				want = enosys
			}
			if got := evaluate(t, f.Program(), a.arch, nr); got != want {
				t.Errorf("%s %s: %#x, want %#x", a.name, name, got, want)
			}
			if got := evaluate(t, f.Program(), a.arch, nr|x32Bit); a.x32 && got != want {
				t.Errorf("x32 %s: %#x, want %#x", name, got, want)
			}
		}
	}
}

// TestRuntimesDecideAsTheKernelDoes applies the rules that runtimes get as their library does.
func TestRuntimesDecideAsTheKernelDoes(t *testing.T) {
	own := machine()[0]
	for _, caps := range [][]string{usual(), append(usual(), "CAP_SYS_ADMIN")} {
		f := defaultFilter(t, caps...)
		ahead, err := f.Ahead()
		if err != nil {
			t.Fatal(err)
		}
		rules, program := f.Runtime(), f.Program()
		for name, nr := range own.calls {
			for _, args := range [][2]uint64{
				{}, {unix.CLONE_NEWUSER}, {unix.AF_VSOCK}, {1<<32 | unix.AF_VSOCK}, {unix.AF_INET}, {0, unix.TIOCSTI},
				{0, 1<<32 | unix.TIOCSTI}, {0, tioclinux}, {0, 0x5413}, {0, ^uint64(0)},
			} {
				want := evaluate(t, program, own.arch, nr, args[0], args[1])
				got := evaluate(t, ahead, own.arch, nr, args[0], args[1])
				if got == allowed {
					got = library(t, rules, name, args)
				}
				if got != want {
					t.Errorf("%s %x: %#x, the kernel's program says %#x", name, args, got, want)
				}
			}
		}
	}
}

// library decides about a call: a rule without conditions has no other beside it that decides otherwise, and rules with
// conditions don't contradict each other, since the library doesn't say which of them counts.
func library(t *testing.T, p *specs.LinuxSeccomp, call string, args [2]uint64) uint32 {
	t.Helper()
	var found []uint32
	for _, r := range p.Syscalls {
		matches := slices.Contains(r.Names, call)
		for _, a := range r.Args {
			v := args[a.Index]
			switch a.Op {
			case specs.OpMaskedEqual:
				matches = matches && v&a.Value == a.ValueTwo
			case specs.OpEqualTo:
				matches = matches && v == a.Value
			case specs.OpLessThan:
				matches = matches && v < a.Value
			default:
				t.Fatalf("%s", a.Op)
			}
		}
		if matches {
			action, err := verdict(r.Action, r.ErrnoRet)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, action)
		}
	}
	if found = slices.Compact(found); len(found) > 1 {
		t.Errorf("%s %x: the rules contradict each other: %#x", call, args, found)
	}
	if len(found) > 0 {
		return found[0]
	}
	other, err := verdict(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		t.Fatal(err)
	}
	return other
}

func TestProfilesDecide(t *testing.T) {
	const profile = `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
		"syscalls": [
			{"names": ["read", "no_such_call", "keyctl"], "action": "SCMP_ACT_ALLOW"},
			{"name": "write", "action": "SCMP_ACT_ALLOW", "args": [{"index": 2, "value": 4294967306, "op": "OP"}]},
			{"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
			{"names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS"},
			{"names": ["close"], "action": "SCMP_ACT_ERRNO"}
		]}`
	const at = uint64(1)<<32 + 10
	type values = map[uint64]bool
	for op, allows := range map[string]values{
		"SCMP_CMP_EQ": {at: true, 10: false, at + 1: false}, "SCMP_CMP_NE": {at: false, 10: true, at + 1: true},
		"SCMP_CMP_LT": {at - 1: true, at: false, at + 1: false, 11: true, 1 << 33: false},
		"SCMP_CMP_LE": {at - 1: true, at: true, at + 1: false, 11: true, 1 << 33: false},
		"SCMP_CMP_GT": {at - 1: false, at: false, at + 1: true, 11: false, 1 << 33: true},
		"SCMP_CMP_GE": {at - 1: false, at: true, at + 1: true, 11: false, 1 << 33: true},
	} {
		f, err := Parse([]byte(strings.ReplaceAll(profile, "OP", op)), usual())
		if err != nil {
			t.Fatal(err)
		}
		for v, want := range allows {
			if got := decide(t, f, "write", 0, 0, v); (got == allowed) != want {
				t.Errorf("%s %#x: %#x", op, v, got)
			}
		}
		other := unix.SECCOMP_RET_ERRNO | uint32(5)
		for call, want := range map[string]uint32{
			"read": allowed, "keyctl": enosys, "mount": other, "execve": unix.SECCOMP_RET_KILL_PROCESS, "close": eperm,
			"futex": other, "rseq_slice_yield": enosys,
		} {
			if got := decide(t, f, call); got != want {
				t.Errorf("%s: %#x, want %#x", call, got, want)
			}
		}
		for _, a := range machine()[1:] {
			if got := evaluate(t, f.Program(), a.arch, a.calls["read"]); got != enosys {
				t.Errorf("%s, which isn't listed: %#x", a.name, got)
			}
		}
	}
}

func TestConditionsAboutOneArgumentAreAlternatives(t *testing.T) {
	f, err := Parse([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
		"args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}, 
			{"index": 1, "value": 240, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]},
		{"names": ["tgkill"], "action": "SCMP_ACT_ERRNO",
		"args": [{"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 1, "op": "SCMP_CMP_GT"}]}]}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		call string
		args []uint64
		want uint32
	}{
		{"kill", []uint64{0, 9}, enosys}, {"kill", []uint64{0, 0x1f}, enosys}, {"kill", []uint64{0, 10}, allowed},
		{"tgkill", []uint64{2, 9}, eperm}, {"tgkill", []uint64{1, 9}, allowed}, {"tgkill", []uint64{2, 8}, allowed},
		{"keyctl", nil, enosys}, {"rseq_slice_yield", nil, allowed},
	} {
		if got := decide(t, f, test.call, test.args...); got != test.want {
			t.Errorf("%s %x: %#x, want %#x", test.call, test.args, got, test.want)
		}
	}
}

func TestHostileProfilesAreRefused(t *testing.T) {
	rule := `{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}`
	for says, profile := range map[string]string{
		"neither defaultAction":           `{}`,
		"unexpected end":                  `{"defaultAction": `,
		"larger than":                     strings.Repeat(" ", MaxProfile+1),
		`there is no action "SCMP_ACT_X"`: `{"defaultAction": "SCMP_ACT_X"}`,
		"defaultAction: there is":         `{"defaultAction": "", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}`,
		`rule about "read": index 6`:      `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}`,
		`there is no op "<"`:              `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_KILL", "args": [{"index": 1, "op": "<"}]}]}`,
		"nobody would listen":             `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mount"], "action": "SCMP_ACT_NOTIFY"}]}`,
		"errnoRet 70000":                  `{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 70000}`,
		"there is no flag":                `{"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}`,
		"both 'name' and 'names'":         `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "read", "names": ["read"]}]}`,
		"cannot unmarshal":                `{"defaultAction": ["SCMP_ACT_ALLOW"]}`,
		"instructions, and the kernel": `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` +
			strings.Repeat(strings.Replace(rule, `["read"]`, `["read", "write"]`, 1)+",", 500) + rule + `]}`,
		"more rules than the kernel takes": `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [` + strings.Repeat(rule+",",
			5000) + rule + `]}`,
	} {
		if _, err := Parse([]byte(profile), usual()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80s: %v, want %q", profile, err, says)
		}
	}
}

// FuzzProfile looks for profiles that make a program that the kernel would not take.
func FuzzProfile(f *testing.F) {
	f.Add([]byte(`{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 5, "value": 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"}]}]}`))
	f.Add([]byte(`{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}]}`))
	f.Fuzz(func(t *testing.T, profile []byte) {
		made, err := Parse(profile, usual())
		if err != nil {
			return
		}
		if len(made.Program()) > mostInstructions {
			t.Errorf("%d instructions", len(made.Program()))
		}
		for _, a := range machine() {
			for _, nr := range []uint32{0, 1, 59, 300, 1 << 20, x32Bit + 1, ^uint32(0)} {
				evaluate(t, made.Program(), a.arch, nr, 1, 2, 3)
			}
		}
	})
}

// TestTheEnginesOwnProfileIsRead gives the engines' list as a profile of the user's: it is obeyed as it stands.
func TestTheEnginesOwnProfileIsRead(t *testing.T) {
	text, err := json.Marshal(moby.DefaultProfile())
	if err != nil {
		t.Fatal(err)
	}
	f, err := Parse(text, usual())
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]uint32{"mount": eperm, "read": allowed, "mbind": eperm, "keyctl": enosys,
		"chroot": allowed, "clone3": enosys} {
		if got := decide(t, f, call); got != want {
			t.Errorf("%s: %#x, want %#x", call, got, want)
		}
	}
}

func BenchmarkDefault(b *testing.B) {
	for b.Loop() {
		if _, err := Default(usual()); err != nil {
			b.Fatal(err)
		}
	}
}
