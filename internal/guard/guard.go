// Package guard turns panics into errors. A library that panics, or a fault of cooper's own, ends the work that it was
// asked for as any failure does: what is held is given back, and the program says one sentence.
//
// A panic ends the whole program unless the goroutine that it happens in recovers it. So whatever is started on a
// goroutine of its own is called by this package; a test looks for what isn't.
package guard

import (
	"fmt"
	"path"
	"runtime"
	"runtime/debug"
	"strings"
)

// Panic is the error that a panic becomes.
type Panic struct {
	// Value is what was panicked with, and Stack the goroutine's, as text.
	Value any
	Stack []byte
	// where is the function, file and line.
	where string
}

func (p *Panic) Error() string { return fmt.Sprintf("internal error in %s: %v", p.where, p.Value) }

func (p *Panic) Unwrap() error {
	err, _ := p.Value.(error)
	return err
}

// Call calls f. Its panic is returned as a *Panic.
func Call(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &Panic{Value: v, Stack: debug.Stack(), where: panicked()}
		}
	}()
	return f()
}

// Func is f for an errgroup's Go.
func Func(f func() error) func() error {
	return func() error { return Call(f) }
}

// panicked says where, called by the function that recovers.
func panicked() string {
	const deep = 32
	pcs := make([]uintptr, deep)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for begun := false; ; {
		frame, more := frames.Next()
		runtimes := strings.HasPrefix(frame.Function, "runtime.")
		if begun = begun || frame.Function == "runtime.gopanic"; begun && !runtimes {
			return fmt.Sprintf("%s (%s:%d)", path.Base(frame.Function), path.Base(frame.File), frame.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
