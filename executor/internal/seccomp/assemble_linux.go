package seccomp

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const (
	x32Bit       = 0x40000000
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16 // each is 8 bytes, of which the low half comes first
	// mostInstructions is how long a program may be for the kernel (BPF_MAXINSNS).
	mostInstructions = 4096
)

// assemble makes the program of the rules for ABIs, the machine's own first. Of the rules that name a call those with
// conditions count first, in their order, then the first without. Calls of an ABI that the profile leaves out get
// ENOSYS, and so do, if the profile denies what it doesn't name, calls that are newer than all that it names: programs
// then do without them.
func (r rules) assemble(on []abi) ([]unix.SockFilter, error) {
	p := r.profile
	other, err := verdict(p.DefaultAction, p.DefaultErrnoRet)
	if err != nil {
		return nil, fmt.Errorf("defaultAction: %w", err)
	}
	prog := []unix.SockFilter{load(offsetArch)}
	for i, a := range on {
		if !slices.Contains(p.Architectures, a.name) && (i > 0 || len(p.Architectures) > 0) {
			continue
		}
		body, err := a.body(r, other)
		if err != nil {
			return nil, err
		}
		prog = append(prog, jump(unix.BPF_JEQ, a.arch, 1, 0), skip(uint32(len(body))))
		prog = append(prog, body...)
	}
	prog = append(prog, ret(errnoVerdict(unix.ENOSYS)))
	if len(prog) > mostInstructions {
		return nil, fmt.Errorf("its program has %d instructions, and the kernel takes %d: fewer rules with args are needed",
			len(prog), mostInstructions)
	}
	return prog, nil
}

// span are all calls from a number up to that of the next span, which are decided upon in the same way.
type span struct {
	from uint32
	code []unix.SockFilter // never falls off its end
}

// body decides about a call of the ABI; it never falls off its end.
func (a abi) body(r rules, other uint32) ([]unix.SockFilter, error) {
	p := r.profile
	byNumber, err := a.decisions(r, other)
	if err != nil {
		return nil, err
	}
	rest, nosys := []unix.SockFilter{ret(other)}, []unix.SockFilter{ret(errnoVerdict(unix.ENOSYS))}
	next := uint32(0) // the first number that no span has yet
	var spans []span
	add := func(from uint32, code []unix.SockFilter) {
		if len(spans) == 0 || !slices.Equal(spans[len(spans)-1].code, code) {
			spans = append(spans, span{from, code})
		}
	}
	numbers := make([]uint32, 0, len(byNumber))
	for nr := range byNumber {
		numbers = append(numbers, nr)
	}
	slices.Sort(numbers)
	beyond := rest
	if denies(p.DefaultAction) {
		beyond = nosys
	}
	newest := a.newest(p)
	for _, nr := range numbers {
		if nr > next {
			add(next, gap(next > newest, beyond, rest))
		}
		add(nr, byNumber[nr])
		next = nr + 1
	}
	add(next, beyond)

	prog := []unix.SockFilter{load(offsetNumber)}
	if a.x32 {
		// x32 has the same numbers with a bit added.
		x32 := []unix.SockFilter{ret(errnoVerdict(unix.ENOSYS))}
		if !denies(p.DefaultAction) && slices.Contains(p.Architectures, specs.ArchX32) {
			x32 = []unix.SockFilter{and(^uint32(x32Bit))}
		}
		prog = append(append(prog, jump(unix.BPF_JGE, x32Bit, 0, uint8(len(x32)))), x32...)
	}
	return append(prog, search(spans)...), nil
}

func gap(isNew bool, beyond, rest []unix.SockFilter) []unix.SockFilter {
	if isNew {
		return beyond
	}
	return rest
}

// decisions gives, by its number, what decides about each call that is named.
func (a abi) decisions(from rules, other uint32) (map[uint32][]unix.SockFilter, error) {
	type decision struct{ denied, checks, last []unix.SockFilter }
	made := map[uint32]*decision{}
	of := func(name string) *decision {
		nr, ok := a.calls[name]
		if !ok {
			return nil
		}
		if made[nr] == nil {
			made[nr] = &decision{}
		}
		return made[nr]
	}
	for _, d := range from.deny {
		if into := of(d.call); into != nil {
			into.denied = append(into.denied, d.code()...)
		}
	}
	for _, r := range from.profile.Syscalls {
		action, err := verdict(r.Action, r.ErrnoRet)
		if err != nil {
			return nil, fmt.Errorf("rule about %.60q: %w", r.Names[0], err)
		}
		checks, err := conditions(r.Args, action)
		if err != nil {
			return nil, fmt.Errorf("rule about %.60q: %w", r.Names[0], err)
		}
		for _, name := range r.Names {
			switch into := of(name); {
			case into == nil: // not a call of this ABI, or newer than the tables
			case len(into.checks) > mostInstructions:
				return nil, fmt.Errorf("call %q: has more rules than the kernel takes", name)
			case len(r.Args) > 0:
				into.checks = append(into.checks, checks...)
			case into.last == nil:
				into.last = []unix.SockFilter{ret(action)}
			}
		}
	}
	code := make(map[uint32][]unix.SockFilter, len(made))
	for nr, d := range made {
		if d.last == nil {
			d.last = []unix.SockFilter{ret(other)}
		}
		code[nr] = slices.Concat(d.denied, d.checks, d.last)
	}
	return code, nil
}

// code gives the verdict about a call that is denied, and falls off its end for others.
func (d denial) code() []unix.SockFilter {
	prog := []unix.SockFilter{load(uint32(offsetArgs + 8*d.arg))}
	for _, v := range d.values {
		prog = append(prog, jump(unix.BPF_JEQ, v, 0, 1), ret(errnoVerdict(d.errno)))
	}
	return prog
}

// search finds the span of a call. The kernel runs the filter once for every call there is when it is installed, so
// halving the list each time matters.
func search(spans []span) []unix.SockFilter {
	if len(spans) == 1 {
		return spans[0].code
	}
	middle := len(spans) / 2
	low, high := search(spans[:middle]), search(spans[middle:])
	if len(low) <= math.MaxUint8 {
		return slices.Concat([]unix.SockFilter{jump(unix.BPF_JGE, spans[middle].from, uint8(len(low)), 0)}, low, high)
	}
	return slices.Concat(
		[]unix.SockFilter{jump(unix.BPF_JGE, spans[middle].from, 0, 1), skip(uint32(len(low)))}, low, high)
}

// denies tells whether an action keeps a call from being made.
func denies(a specs.LinuxSeccompAction) bool {
	return a != specs.ActAllow && a != specs.ActLog && a != specs.ActTrace
}

// verdict gives what a filter returns for an action.
func verdict(a specs.LinuxSeccompAction, data *uint) (uint32, error) {
	number := cmp.Or(data, new(uint))
	if *number > math.MaxUint16 {
		return 0, fmt.Errorf("errnoRet %d: must be at most %d", *number, math.MaxUint16)
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, nil
	case specs.ActErrno:
		if data == nil {
			return errnoVerdict(unix.EPERM), nil
		}
		return errnoVerdict(unix.Errno(*number)), nil
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, nil
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, nil
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, nil
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, nil
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | uint32(*number), nil
	case specs.ActNotify:
		return 0, fmt.Errorf("%s: nobody would listen: steps have no listener", a)
	}
	return 0, fmt.Errorf("there is no action %.40q", a)
}

func errnoVerdict(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

func and(mask uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: mask}
}

func jump(test uint16, value uint32, ifTrue, ifFalse uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | test, Jt: ifTrue, Jf: ifFalse, K: value}
}

func skip(n uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA, K: n} }

func ret(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
}
