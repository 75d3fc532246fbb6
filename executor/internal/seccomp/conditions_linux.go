package seccomp

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// failed marks a jump to the end of a condition's rule, whose distance isn't known yet. No jump is as long.
const failed = 0xff

// conditions gives the verdict about calls with arguments that meet all conditions, and falls off its end for others.
// Where two are about the same argument, one of all must be met, as with OCI runtimes.
func conditions(args []specs.LinuxSeccompArg, verdict uint32) ([]unix.SockFilter, error) {
	groups := [][]specs.LinuxSeccompArg{args}
	seen := map[uint]bool{}
	for _, a := range args {
		if a.Index > 5 {
			return nil, fmt.Errorf("index %d: system calls have 6 arguments, from 0", a.Index)
		}
		if seen[a.Index] {
			groups = nil
			for i := range args {
				groups = append(groups, args[i:i+1])
			}
			break
		}
		seen[a.Index] = true
	}
	var prog []unix.SockFilter
	for _, group := range groups {
		var code []unix.SockFilter
		for _, a := range group {
			check, err := condition(a)
			if err != nil {
				return nil, err
			}
			code = append(code, check...)
		}
		prog = append(prog, resolve(append(code, ret(verdict)))...)
	}
	return prog, nil
}

// resolve sets the jumps of a rule that are to go to its end.
func resolve(code []unix.SockFilter) []unix.SockFilter {
	for i := range code {
		rest := uint8(len(code) - i - 1)
		if code[i].Jt == failed {
			code[i].Jt = rest
		}
		if code[i].Jf == failed {
			code[i].Jf = rest
		}
	}
	return code
}

// condition falls off its end if the argument meets it, and else jumps to failed.
func condition(a specs.LinuxSeccompArg) ([]unix.SockFilter, error) {
	low, high := load(uint32(offsetArgs+8*a.Index)), load(uint32(offsetArgs+8*a.Index+4))
	l, h := uint32(a.Value), uint32(a.Value>>32)
	switch a.Op {
	case specs.OpEqualTo:
		return []unix.SockFilter{high, jump(unix.BPF_JEQ, h, 0, failed), low, jump(unix.BPF_JEQ, l, 0, failed)}, nil
	case specs.OpNotEqual:
		return []unix.SockFilter{high, jump(unix.BPF_JEQ, h, 0, 2), low, jump(unix.BPF_JEQ, l, failed, 0)}, nil
	case specs.OpMaskedEqual:
		return []unix.SockFilter{
			high, and(h), jump(unix.BPF_JEQ, uint32(a.ValueTwo>>32)&h, 0, failed),
			low, and(l), jump(unix.BPF_JEQ, uint32(a.ValueTwo)&l, 0, failed),
		}, nil
	case specs.OpGreaterThan:
		return []unix.SockFilter{
			high, jump(unix.BPF_JGT, h, 3, 0), jump(unix.BPF_JEQ, h, 0, failed), low, jump(unix.BPF_JGT, l, 0, failed),
		}, nil
	case specs.OpGreaterEqual:
		return []unix.SockFilter{
			high, jump(unix.BPF_JGT, h, 3, 0), jump(unix.BPF_JEQ, h, 0, failed), low, jump(unix.BPF_JGE, l, 0, failed),
		}, nil
	case specs.OpLessThan:
		return []unix.SockFilter{
			high, jump(unix.BPF_JGT, h, failed, 0), jump(unix.BPF_JEQ, h, 0, 2), low, jump(unix.BPF_JGE, l, failed, 0),
		}, nil
	case specs.OpLessEqual:
		return []unix.SockFilter{
			high, jump(unix.BPF_JGT, h, failed, 0), jump(unix.BPF_JEQ, h, 0, 2), low, jump(unix.BPF_JGT, l, failed, 0),
		}, nil
	}
	return nil, fmt.Errorf("there is no op %.40q", a.Op)
}
