package streams

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// OpenTerminal makes a new terminal in an instance of devpts that is nowhere attached yet, for all three streams. It
// belongs to uid, the step's user. begin is called with its other side, and what that returns by Finish.
func OpenTerminal(devpts *os.File, uid int, begin func(other *os.File) (end func() error)) (s *Streams, err error) {
	master, err := unix.Openat(int(devpts.Fd()), "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a terminal: %w", err)
	}
	s = &Streams{terminal: os.NewFile(uintptr(master), "terminal")}
	defer func() {
		if err != nil {
			s.close()
			err = errors.Join(fmt.Errorf("make a terminal: %w", err), s.terminal.Close())
		}
	}()
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return nil, err
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER,
		unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, errno
	}
	slave := os.NewFile(fd, "terminal")
	defer slave.Close()
	if err := unix.Fchown(int(fd), uid, -1); err != nil {
		return nil, err
	}
	for i := range s.Child {
		if s.Child[i], err = dupHigh(slave); err != nil {
			return nil, err
		}
	}
	s.end = begin(s.terminal)
	return s, nil
}
