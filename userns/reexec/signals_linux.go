package reexec

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// notify makes c receive the signals to pass on to the child. Signals that are ignored stay ignored (nohup ignores
// SIGHUP): the child has inherited that.
func notify(c chan<- os.Signal) {
	for _, s := range []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2} {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
}

// fromTerminal reports whether a signal is one that a terminal sends to its whole
// foreground group, and so to the child as well, while we are in that group.
// A kill -INT to the caller alone can't be told from Ctrl-C then; SIGTERM can.
func fromTerminal(s os.Signal) bool {
	if s != unix.SIGINT && s != unix.SIGQUIT {
		return false
	}
	tty, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // the process has no controlling terminal
	}
	defer unix.Close(tty)
	foreground, err := unix.IoctlGetInt(tty, unix.TIOCGPGRP)
	return err == nil && foreground == unix.Getpgrp()
}
