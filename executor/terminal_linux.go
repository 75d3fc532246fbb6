package executor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// KeepTerminal has a terminal get back the settings that it has now when this process ends, also if SIGKILL ends it.
// restore gives them back at once; it must be called once.
func KeepTerminal(f *os.File) (restore func() error, err error) {
	tty, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, fmt.Errorf("keep the terminal's settings: %w", err)
	}
	defer unix.Close(tty)
	before, err := unix.IoctlGetTermios(tty, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("keep the terminal's settings: %w", err)
	}
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("open own process: %w", err)
	}
	defer unix.Close(self)

	var p rawproc.Program
	p.Add(rawproc.Op{Doing: "set name", Trap: unix.SYS_PRCTL, Args: [6]uintptr{unix.PR_SET_NAME, p.String("cooper-tty")}})
	// A process of another session may change the settings of a terminal whose foreground processes are others.
	p.Add(rawproc.Op{Doing: "leave the session", Trap: unix.SYS_SETSID, Ignore: rawproc.IgnoreAll})
	addCloseOthers(&p, self, tty)
	fds := rawproc.Pin(&p, &[1]unix.PollFd{{Fd: int32(self), Events: unix.POLLIN}})
	p.Add(rawproc.Op{Doing: "wait", Trap: unix.SYS_PPOLL, Args: [6]uintptr{fds, 1}})
	p.Add(rawproc.Op{Doing: "restore the terminal", Trap: unix.SYS_IOCTL,
		Args: [6]uintptr{uintptr(tty), unix.TCSETS, rawproc.Pin(&p, before)}, Ignore: rawproc.IgnoreAll})
	keeper, err := p.Start(0)
	if err != nil {
		return nil, fmt.Errorf("keep the terminal's settings: %w", err)
	}
	return func() error {
		err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, before)
		keeper.Kill()
		_, _, reapErr := keeper.Reap()
		return errors.Join(err, reapErr)
	}, nil
}
