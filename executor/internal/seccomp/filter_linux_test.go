package seccomp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// evaluate runs a filter on one call, as the kernel would.
func evaluate(t *testing.T, prog []unix.SockFilter, arch, call uint32, args ...uint64) uint32 {
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

func TestFilterDecidesAsListed(t *testing.T) {
	prog := seccompFilter(abis())
	if len(prog) > 4096 {
		t.Fatalf("%d instructions", len(prog))
	}
	for _, a := range abis() {
		denied := map[uint32]bool{}
		for _, c := range append(a.denied, commonDenied()...) {
			denied[c.nr] = true
		}
		byArg := map[uint32]bool{clone3: true}
		for _, r := range a.args {
			byArg[r.call.nr] = true
		}
		for nr := range uint32(600) {
			want := uint32(unix.SECCOMP_RET_ALLOW)
			switch {
			case nr > highestCall, nr == clone3:
				want = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
			case denied[nr]:
				want = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
			}
			if got := evaluate(t, prog, a.arch, nr); got != want {
				t.Errorf("arch %#x call %d: %#x, want %#x", a.arch, nr, got, want)
			}
			if byArg[nr] && denied[nr] {
				t.Errorf("arch %#x call %d is listed twice", a.arch, nr)
			}
		}
		for _, r := range a.args {
			for _, v := range r.values {
				args := make([]uint64, 6)
				args[r.arg] = 7<<32 | uint64(v&-v)
				if !r.mask {
					args[r.arg] = 7<<32 | uint64(v)
				}
				if got, want := evaluate(t, prog, a.arch, r.call.nr, args...), unix.SECCOMP_RET_ERRNO|uint32(r.errno); got != want {
					t.Errorf("arch %#x call %d with %#x: %#x, want %#x", a.arch, r.call.nr, v, got, want)
				}
			}
			if got := evaluate(t, prog, a.arch, r.call.nr, 0, 0, 0, 0, 0, 0); got != unix.SECCOMP_RET_ALLOW {
				t.Errorf("arch %#x call %d: %#x", a.arch, r.call.nr, got)
			}
		}
	}
	if got := evaluate(t, prog, 0x1234, 1); got != unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS) {
		t.Errorf("unknown architecture: %#x", got)
	}
}
