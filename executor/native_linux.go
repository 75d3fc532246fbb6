package executor

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

// native is the executor's own back end: the step's first process is a child of this program.
type native struct{ c *container }

var _ backEnd = (*native)(nil)

func (n *native) prepare() (err error) {
	c := n.c
	if err := c.makeShm(); err != nil {
		return err
	}
	if err := c.makeMounts(); err != nil {
		return err
	}
	if c.step.Stdout == nil || c.step.Stderr == nil {
		c.null, err = sealedNull()
	} else { // only the input needs it until ownInput opens the step's own null device
		c.null, err = os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	}
	return err
}

func (n *native) launch(h handles) launch {
	namespaces := uintptr(
		unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if n.c.step.Network == networkNone {
		namespaces |= unix.CLONE_NEWNET
	}
	return launch{script: n.program(h), namespaces: namespaces, attachesRoot: true, handles: handlesSignal}
}

// failure is nil: the script reports all errors before the step's program is executed.
func (n *native) failure() error { return nil }

func (n *native) program(h handles) *script {
	s := newScript(n.c)
	s.settle(h)
	s.ownMounts()
	s.attachAll()
	if !n.c.step.Security.Insecure {
		s.maskProc()
	}
	s.enterRoot()
	s.names()
	s.enterCwd()
	s.call("join a session keyring", rawproc.IgnoreAll, unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	s.becomeUser()
	s.stdio(h)
	s.closeRest()
	s.ownInput()
	s.exec()
	return s
}

// enterRoot makes the step's root the root of the mount namespace and drops the old one with all its mounts.
func (s *script) enterRoot() {
	here := s.String(".")
	s.call("enter the root", 0, unix.SYS_FCHDIR, s.c.root.dir.Fd())
	s.call("change the root", 0, unix.SYS_PIVOT_ROOT, here, here)
	s.call("leave the old root", 0, unix.SYS_UMOUNT2, here, unix.MNT_DETACH)
	s.call("enter the root", 0, unix.SYS_CHDIR, s.String("/"))
}

func (s *script) names() {
	name := s.c.hostname()
	s.call("set the host name", 0, unix.SYS_SETHOSTNAME, s.String(name), uintptr(len(name)))
	if s.c.step.Network == networkNone {
		// struct ifreq: a name of 16 bytes, then the flags.
		request := make([]byte, 40)
		copy(request, "lo")
		request[16] = unix.IFF_UP | unix.IFF_RUNNING
		fd := s.call("open a socket", 0, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		s.AddFed(rawproc.Op{
			Doing: "bring up the loopback device", Trap: unix.SYS_IOCTL,
			Args: [6]uintptr{0, unix.SIOCSIFFLAGS, s.Bytes(request)},
		}, fd, 0)
	}
}

// ownInput makes the null device in the step's /dev its standard input. That device is in a read-only mount, while
// through the caller's the step could change the owner and mode of the caller's device. Standard input is closed first,
// so that opening the device gives its descriptor, and a low limit on open files doesn't matter.
func (s *script) ownInput() {
	s.call("close the input", 0, unix.SYS_CLOSE, 0)
	s.Add(rawproc.Op{Doing: "open the input", Trap: unix.SYS_OPENAT, Args: [6]uintptr{atFDCWD, s.String(os.DevNull),
		unix.O_RDONLY}, WantZero: true})
}
