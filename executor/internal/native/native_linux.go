package native

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/internal/script"
	"github.com/cooperbuild/cooper/executor/internal/streams"
	"github.com/cooperbuild/cooper/executor/step"
)

// BackEnd is the executor's own back end: the step's first process is a child of this program.
type BackEnd struct{ C *container.Container }

// Prepare makes the step's mounts, /dev/shm and null device.
func (n *BackEnd) Prepare() (err error) {
	c := n.C
	if err := c.MakeMounts(c.ShmSize()); err != nil {
		return err
	}
	if c.Step.Terminal == nil && (c.Step.Stdout == nil || c.Step.Stderr == nil) {
		c.Null, err = streams.SealedNull()
	} else { // only the input needs it, and ownInput puts the step's own device in its place
		c.Null, err = os.OpenFile(os.DevNull, os.O_RDONLY, 0)
	}
	return err
}

// Launch gives the step's first process, which gets the step's namespaces and becomes the step's program.
func (n *BackEnd) Launch(h script.Handles) script.Launch {
	namespaces := uintptr(
		unix.CLONE_NEWNS | unix.CLONE_NEWPID)
	namespaces |= script.OwnNamespaces(n.C)
	if n.C.Step.Network == step.NetworkNone {
		namespaces |= unix.CLONE_NEWNET
	}
	return script.Launch{Script: n.program(h), Namespaces: namespaces, AttachesRoot: true, Handles: script.HandlesSignal}
}

// Failure is nil: the script reports all errors before the step's program is executed.
func (n *BackEnd) Failure() error { return nil }

// program gives the system calls of the child until it executes the step's program.
func (n *BackEnd) program(h script.Handles) *script.Script {
	s := program{script.New(n.C)}
	s.Settle(h)
	s.JoinNamespaces()
	if n.C.Step.Terminal != nil {
		s.Call("take the terminal", 0, unix.SYS_IOCTL, uintptr(h.Stdio[0]), unix.TIOCSCTTY, 0)
	}
	s.JoinNetwork()
	s.OwnMounts()
	s.attachAll()
	if !n.C.Step.Security.Insecure {
		s.maskProc()
	}
	if n.C.Step.ReadOnly {
		s.ReadOnlyRoot()
	}
	s.enterRoot()
	s.names()
	s.EnterCwd()
	s.Call("join a session keyring", rawproc.IgnoreAll, unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0)
	s.BecomeUser()
	s.Stdio(h)
	s.CloseRest()
	if n.C.Step.Stdin == nil && n.C.Step.Terminal == nil {
		s.ownInput()
	}
	s.Exec()
	return s.Script
}

// program is the script of a step that the executor itself runs.
type program struct{ *script.Script }

// enterRoot makes the step's root the root of the mount namespace and drops the old one with all its mounts.
func (s program) enterRoot() {
	here := s.String(".")
	s.Call("enter the root", 0, unix.SYS_FCHDIR, s.C.Root.Dir.Fd())
	s.Call("change the root", 0, unix.SYS_PIVOT_ROOT, here, here)
	s.Call("leave the old root", 0, unix.SYS_UMOUNT2, here, unix.MNT_DETACH)
	s.Call("enter the root", 0, unix.SYS_CHDIR, s.String("/"))
}

// names sets the host name, and brings up the loopback device of a step without the caller's network.
func (s program) names() {
	name := s.C.Hostname()
	if s.C.Step.Shared.UTS.IsOwn() {
		s.Call("set the host name", 0, unix.SYS_SETHOSTNAME, s.String(name), uintptr(len(name)))
	}
	if s.C.Step.Network == step.NetworkNone {
		// struct ifreq: a name of 16 bytes, then the flags.
		request := make([]byte, 40)
		copy(request, "lo")
		request[16] = unix.IFF_UP | unix.IFF_RUNNING
		fd := s.Call("open a socket", 0, unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		s.AddFed(rawproc.Op{
			Doing: "bring up the loopback device", Trap: unix.SYS_IOCTL,
			Args: [6]uintptr{0, unix.SIOCSIFFLAGS, s.Bytes(request)},
		}, fd, 0)
	}
}

// ownInput makes the null device in the step's /dev its standard input. That device is in a read-only mount, while
// through the caller's the step could change the owner and mode of the caller's device. Standard input is closed first,
// so that opening the device gives its descriptor, and a low limit on open files doesn't matter.
func (s program) ownInput() {
	s.Call("close the input", 0, unix.SYS_CLOSE, 0)
	s.Add(rawproc.Op{Doing: "open the input", Trap: unix.SYS_OPENAT, Args: [6]uintptr{script.AtFDCWD, s.String(os.DevNull),
		unix.O_RDONLY}, WantZero: true})
}
