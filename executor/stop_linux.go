package executor

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// How long a step may take to end after SIGTERM. One whose first process doesn't handle that signal never gets it, as
// the first process of a pid namespace, but others of its process group do.
const (
	graceHandled   = 2 * time.Second
	graceUnhandled = 200 * time.Millisecond
)

// terminate ends the step: with SIGTERM if that does it in time.
func (p *process) terminate() {
	grace := graceUnhandled
	if p.handles(p.child.Pid, unix.SIGTERM) {
		grace = graceHandled
	}
	// The child is not reaped before this function is through, so the ID is still its own.
	if unix.Kill(-p.child.Pid, unix.SIGTERM) == nil {
		waitReadable(int(p.child.Pidfd.Fd()), grace)
	}
	p.child.Kill()
}

// handlesSignal says whether the process has a handler for the signal.
func handlesSignal(pid int, sig unix.Signal) bool {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if hex, ok := strings.CutPrefix(lines.Text(), "SigCgt:"); ok {
			caught, err := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return err == nil && caught&(1<<(sig-1)) != 0
		}
	}
	return false
}

func waitReadable(fd int, timeout time.Duration) {
	end := time.Now().Add(timeout)
	_, _ = fsys.Retry(func() (int, error) {
		left := max(0, time.Until(end))
		return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
	})
}

// startWatcher starts a process that kills the step when this process ends. The kernel's own signal for that
// (PR_SET_PDEATHSIG) is lost when the step's first process changes its user or executes a setuid program.
func startWatcher(self, step int) (*rawproc.Child, error) {
	var p rawproc.Program
	name := p.String("cooper-watch")
	p.Add(rawproc.Op{Doing: "set name", Trap: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_NAME, name}})
	p.Add(rawproc.Op{Doing: "leave the session", Trap: unix.SYS_SETSID, Ignore: rawproc.IgnoreAll})
	// It never executes anything, so nothing closes what it has got by being cloned.
	low, high := min(self, step), max(self, step)
	for _, gap := range [][2]int{{0, low - 1}, {low + 1, high - 1}, {high + 1, int(^uint32(0))}} {
		if gap[0] <= gap[1] {
			p.Add(rawproc.Op{Doing: "close descriptors", Trap: unix.SYS_CLOSE_RANGE,
				Args: [6]uintptr{uintptr(gap[0]), uintptr(gap[1])}})
		}
	}
	fds := rawproc.Pin(&p, &[2]unix.PollFd{{Fd: int32(self), Events: unix.POLLIN}, {Fd: int32(step), Events: unix.POLLIN}})
	p.Add(rawproc.Op{Doing: "wait", Trap: unix.SYS_PPOLL, Args: [6]uintptr{fds, 2}})
	// Whichever has ended: if it was the step, this does nothing.
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
