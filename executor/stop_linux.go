package executor

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// How long a step may take to end after SIGTERM. The first process of a pid namespace gets that signal only if it
// handles it; other processes of its group always get it.
const (
	graceHandled   = 2 * time.Second
	graceUnhandled = 200 * time.Millisecond
)

// terminate asks the step to end, and ends it with SIGKILL if that takes too long. obeyed tells that the step handles
// the signal that it was asked with and has ended by itself.
func (p *process) terminate(cause error, how step.Stop) (obeyed bool) {
	if errors.As(cause, new(urgent)) {
		p.child.Kill()
		return false
	}
	signal, grace := unix.SIGTERM, graceUnhandled
	if how.Signal != nil {
		signal = how.Signal(cause)
	}
	handled := p.Handles(p.child.Pid, signal)
	if handled {
		grace = cmp.Or(how.Grace, graceHandled)
	}
	// The child is not reaped before this function returns, so no other process can have its ID.
	if unix.Kill(-p.child.Pid, signal) == nil {
		obeyed = waitReadable(int(p.child.Pidfd.Fd()), grace) && handled
	}
	p.child.Kill()
	return obeyed
}

// urgent is the cause of an end for which a step isn't asked.
type urgent interface {
	error
	AtOnce()
}

// waitReadable tells whether there is something to read in time.
func waitReadable(fd int, timeout time.Duration) bool {
	end := time.Now().Add(timeout)
	n, _ := fsys.Retry(func() (int, error) {
		left := max(0, time.Until(end))
		return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
	})
	return n > 0
}

// startWatcher starts a process that kills the step when this process ends. The kernel's own signal for that
// (PR_SET_PDEATHSIG) is lost when the step's first process changes its user or executes a setuid program.
func startWatcher(self, step int) (*rawproc.Child, error) {
	var p rawproc.Program
	name := p.String("cooper-watch")
	p.Add(rawproc.Op{Doing: "set name", Trap: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_NAME, name}})
	p.Add(rawproc.Op{Doing: "leave the session", Trap: unix.SYS_SETSID, Ignore: rawproc.IgnoreAll})

	addCloseOthers(&p, self, step)

	fds := rawproc.Pin(&p, &[2]unix.PollFd{{Fd: int32(self), Events: unix.POLLIN}, {Fd: int32(step), Events: unix.POLLIN}})
	p.Add(rawproc.Op{Doing: "wait", Trap: unix.SYS_PPOLL, Args: [6]uintptr{fds, 2}})
	// This process or the step has ended. If it was the step, the signal does nothing.
	p.Add(rawproc.Op{
		Doing: "kill the step", Trap: unix.SYS_PIDFD_SEND_SIGNAL, Args: [6]uintptr{uintptr(step), uintptr(unix.SIGKILL)},
		Ignore: rawproc.IgnoreAll,
	})

	c, err := p.Start(0)
	if err != nil {
		return nil, fmt.Errorf("start watcher: %w", err)
	}
	return c, nil
}

// addCloseOthers closes all descriptors but two: a process that never executes a program must close itself what it got
// by being cloned.
func addCloseOthers(p *rawproc.Program, one, other int) {
	low, high := min(one, other), max(one, other)
	for _, gap := range [][2]int{{0, low - 1}, {low + 1, high - 1}, {high + 1, int(^uint32(0))}} {
		if gap[0] <= gap[1] {
			p.Add(rawproc.Op{Doing: "close descriptors", Trap: unix.SYS_CLOSE_RANGE,
				Args: [6]uintptr{uintptr(gap[0]), uintptr(gap[1])}})
		}
	}
}
