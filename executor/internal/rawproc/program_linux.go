package rawproc

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// IgnoreAll is the Op.Ignore of a call that may fail in any way.
const IgnoreAll = ^uint64(0)

// Ignoring is an Op.Ignore with these errors, each below 64.
func Ignoring(errnos ...unix.Errno) uint64 {
	var set uint64
	for _, e := range errnos {
		set |= 1 << (uint64(e) & 63)
	}
	return set
}

// Op is one system call.
type Op struct {
	Doing    string  // for the error: "mount proc"
	Trap     uintptr // number of the system call
	Args     [6]uintptr
	Ignore   uint64 // bit n: go on when the call fails with errno n
	WantZero bool   // any result but 0 is a failure (with errno 0)
}

// rawOp is what the assembly reads; spawn_linux_*.s knows its layout.
type rawOp struct {
	trap   uintptr
	args   [6]uintptr
	out    *uintptr
	ignore uint64
	flags  uint64
}

const flagWantZero = 1

// result is written by the child.
type result struct {
	failed uintptr // address of the rawOp that failed, 0 for none
	errno  uintptr // the errno with which it failed
}

// feed makes the result of the call with index from the argument with index arg of the call with index to.
type feed struct{ from, to, arg int }

// Program is a list of calls. Build it, then Start it, once. The zero value is empty.
type Program struct {
	ops   []Op
	feeds []feed
	keep  []any // memory that the calls' arguments point to
	err   error // why the program can't be started; Start returns it
	old   bool  // use clone, not clone3

	raw     []rawOp   // the calls as the child reads them; made by assemble
	results []uintptr // of each call, written by the child, if no feed takes it
}

// Add appends a call and returns its index.
func (p *Program) Add(op Op) int {
	p.ops = append(p.ops, op)
	return len(p.ops) - 1
}

// AddFed appends a call one of whose arguments is the result of the call with index from.
func (p *Program) AddFed(op Op, from, arg int) int {
	i := p.Add(op)
	p.Feed(from, i, arg)
	return i
}

// Feed makes the result of call from the argument arg of call to. A call's result can feed one argument.
func (p *Program) Feed(from, to, arg int) { p.feeds = append(p.feeds, feed{from, to, arg}) }

// String gives the address of a NUL-terminated copy of s that lives as long as the program. A NUL in s makes Start
// fail.
func (p *Program) String(s string) uintptr {
	if strings.IndexByte(s, 0) >= 0 {
		p.err = errors.Join(p.err, fmt.Errorf("string %q: has a NUL byte", s))
	}
	b := make([]byte, len(s)+1)
	copy(b, s)
	return p.Bytes(b)
}

// Strings gives the address of a NULL-terminated array of strings that String would copy.
func (p *Program) Strings(list []string) uintptr {
	size := 0
	for _, s := range list {
		if strings.IndexByte(s, 0) >= 0 {
			p.err = errors.Join(p.err, fmt.Errorf("string %q: has a NUL byte", s))
		}
		size += len(s) + 1
	}
	text := make([]byte, 0, size+1)
	addresses := make([]uintptr, len(list)+1)
	base := p.Bytes(text[:1])
	for i, s := range list {
		addresses[i] = base + uintptr(len(text))
		text = append(append(text, s...), 0)
	}
	return Pin(p, &addresses[0])
}

// Bytes gives the address of b, which must not be empty, and keeps it alive.
func (p *Program) Bytes(b []byte) uintptr { return Pin(p, &b[0]) }

// Pin gives the address of *v and keeps it alive as long as the program. Go doesn't see the pointers that the kernel
// follows from *v: pin what they point to as well.
func Pin[T any](p *Program, v *T) uintptr {
	p.keep = append(p.keep, v) // held by an interface in the heap, so *v is in the heap: there, Go moves nothing
	return uintptr(unsafe.Pointer(v))
}

// Result is what the call with this index returned (a negative errno if it failed), valid when the child is done with
// it; 0 if the child never came to it.
func (p *Program) Result(i int) int {
	for _, f := range p.feeds {
		if f.from == i {
			return int(p.raw[f.to].args[f.arg])
		}
	}
	return int(p.results[i])
}

// assemble gives the calls in the form that the child reads, and where they end. Those of before come first.
func (p *Program) assemble(before []rawOp) (first *rawOp, end uintptr) {
	all := append(before, make([]rawOp, len(p.ops))...)
	p.raw = all[len(before):]
	p.results = make([]uintptr, len(p.ops))
	for i, op := range p.ops {
		p.raw[i] = rawOp{trap: op.Trap, args: op.Args, ignore: op.Ignore, out: &p.results[i]}
		if op.WantZero {
			p.raw[i].flags = flagWantZero
		}
	}
	for _, f := range p.feeds {
		p.raw[f.from].out = &p.raw[f.to].args[f.arg]
	}
	return &all[0], uintptr(unsafe.Pointer(&all[0])) + uintptr(len(all))*unsafe.Sizeof(rawOp{})
}

// resetSignals gives the calls that make the action for each signal the default one.
func (p *Program) resetSignals() []rawOp {
	action := p.Bytes(make([]byte, 64)) // struct sigaction
	ignored := new(uintptr)
	var ops []rawOp
	for sig := uintptr(1); sig <= 64; sig++ {
		if sig != uintptr(unix.SIGKILL) && sig != uintptr(unix.SIGSTOP) {
			ops = append(ops, rawOp{trap: unix.SYS_RT_SIGACTION, args: [6]uintptr{sig, action, 0, 8}, out: ignored,
				ignore: IgnoreAll})
		}
	}
	return ops
}

// Failure says which call of a program failed.
type Failure struct {
	Op    int // index of the call
	Doing string
	Errno unix.Errno // 0: the result of a WantZero call
}

func (f *Failure) Error() string { return f.Doing + ": " + f.Errno.Error() }

// Unwrap gives the errno.
func (f *Failure) Unwrap() error { return f.Errno }

func (p *Program) failure(at uintptr) *Failure {
	i := int((at - uintptr(unsafe.Pointer(&p.raw[0]))) / unsafe.Sizeof(rawOp{}))
	runtime.KeepAlive(p)
	return &Failure{Op: i, Doing: p.ops[i].Doing}
}
