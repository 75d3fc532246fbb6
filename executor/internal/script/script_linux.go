package script

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/step"
)

// Arguments of calls, as the kernel takes them.
const (
	AtFDCWD   = ^uintptr(99) // -100
	emptyPath = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	CloneTree = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	Nosuid    = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
)

// Script is the list of system calls of a step's first process, the child.
type Script struct {
	rawproc.Program
	C     *container.Container
	plain uintptr  // address of an open_how that follows no link
	Empty uintptr  // address of an empty string
	ro    uintptr  // address of a mount_attr that makes a mount read-only
	execs []int    // indexes of the calls that execute the candidates for the step's program; set by Exec
	paths []string // the candidates' paths, in the same order; set by Exec
}

// Handles are the descriptors, besides those of mounts, that the child needs.
type Handles struct {
	Stdio [3]int // the step's standard streams; each is 3 or more
	Begin int    // an eventfd: the child goes on when this process has written to it
	Self  int    // a pidfd of this process
}

// Launch is the first process of a step, before it is started.
type Launch struct {
	Script     *Script
	Namespaces uintptr // CLONE_NEW* flags of the namespaces that the process gets
	// AttachesRoot says that the process attaches the container's root in its mount namespace.
	AttachesRoot bool
	// Handles reports whether a signal that is sent to the process, whose ID is pid, finds a handler in the step.
	Handles func(pid int, sig unix.Signal) bool
}

// New is a script without calls.
func New(c *container.Container) *Script {
	s := &Script{C: c}
	s.plain = rawproc.Pin(&s.Program, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	s.Empty = s.String("")
	s.ro = rawproc.Pin(&s.Program, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return s
}

// Call adds a system call and gives its index in the script. doing and ignore are the fields Doing and Ignore of its
// Op.
func (s *Script) Call(doing string, ignore uint64, trap uintptr, args ...uintptr) int {
	op := rawproc.Op{Doing: doing, Trap: trap, Ignore: ignore}
	copy(op.Args[:], args)
	return s.Add(op)
}

// Settle cuts the child off from the caller's signals and session.
func (s *Script) Settle(h Handles) {
	s.dieWithParent()
	// If the parent died before that call, the child gets no signal, so it looks whether the parent lives.
	fds := rawproc.Pin(&s.Program, &unix.PollFd{Fd: int32(h.Self), Events: unix.POLLIN})
	now := rawproc.Pin(&s.Program, &unix.Timespec{})
	s.Add(rawproc.Op{Doing: "see that the parent lives", Trap: unix.SYS_PPOLL, Args: [6]uintptr{fds, 1, now},
		WantZero: true})
	count := rawproc.Pin(&s.Program, new(uint64))
	s.Call("wait for the parent", 0, unix.SYS_READ, uintptr(h.Begin), count, 8)
	s.Call("start a session", 0, unix.SYS_SETSID)
	action := s.Bytes(make([]byte, 64)) // struct sigaction, all default
	for _, sig := range ignorable() {
		s.Call("reset signals", 0, unix.SYS_RT_SIGACTION, uintptr(sig), action, 0, 8)
	}
}

// JoinNetwork moves the child into the step's network namespace, if it has been made beforehand.
func (s *Script) JoinNetwork() {
	if ns := s.C.Step.NetNS; ns != nil {
		s.Call("join the network namespace", 0, unix.SYS_SETNS, ns.Fd(), unix.CLONE_NEWNET)
	}
}

// OwnMounts cuts the child off from the caller's mounts, of which it has a copy.
func (s *Script) OwnMounts() {
	// Clones of a read-only mount are read-only, too. So a step can't change the owner and mode of the device nodes that
	// are cloned from here; it can write to the devices all the same.
	private := rawproc.Pin(&s.Program, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE})
	s.Call("make mounts private", 0, unix.SYS_MOUNT_SETATTR, AtFDCWD, s.String("/"), unix.AT_RECURSIVE, private,
		unsafe.Sizeof(unix.MountAttr{}))
}

// ignorable gives the signals that may be ignored in this process, and so in the child. For all others the Go runtime
// installs handlers, which the kernel resets to the default in the child.
func ignorable() []unix.Signal {
	return []unix.Signal{
		unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM, unix.SIGCHLD, unix.SIGCONT, unix.SIGTSTP,
		unix.SIGTTIN,
		unix.SIGTTOU, unix.SIGUSR1, unix.SIGUSR2,
		32, 33, 34, // the C library's own, for which Go has no handler
	}
}

func (s *Script) dieWithParent() {
	s.Call("die with the parent", 0, unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
}

// Find adds a call that opens name in the root, and gives its index: feed the descriptor to the call that needs it.
func (s *Script) Find(name string) int {
	return s.Call("find /"+name, 0, unix.SYS_OPENAT2, s.C.Root.Dir.Fd(), s.String(name), s.plain, unix.SizeofOpenHow)
}

// Attach moves the detached mount fd to name in the root.
func (s *Script) Attach(fd uintptr, name string) {
	at := s.Find(name)
	s.AddFed(rawproc.Op{
		Doing: "mount /" + name, Trap: unix.SYS_MOVE_MOUNT, Args: [6]uintptr{fd, s.Empty, 0, s.Empty, emptyPath},
	}, at, 2)
}

// AttachClone mounts a clone of path, below dir (or of a path of the caller's if dir is AtFDCWD), at name in the root.
func (s *Script) AttachClone(dir uintptr, path, name string) {
	tree := s.Call("clone "+path, 0, unix.SYS_OPEN_TREE, dir, s.String(path), CloneTree)
	at := s.Find(name)
	move := s.AddFed(rawproc.Op{
		Doing: "mount /" + name, Trap: unix.SYS_MOVE_MOUNT, Args: [6]uintptr{0, s.Empty, 0, s.Empty, emptyPath},
	}, tree, 0)
	s.Feed(at, move, 2)
}

// AttachTree mounts a clone of a path of the caller's, with all that is mounted below it, at name in the root.
func (s *Script) AttachTree(path, name string) {
	tree := s.Call("clone "+path, 0, unix.SYS_OPEN_TREE, AtFDCWD, s.String(path), CloneTree|unix.AT_RECURSIVE)
	at := s.Find(name)
	move := s.AddFed(rawproc.Op{
		Doing: "mount /" + name, Trap: unix.SYS_MOVE_MOUNT, Args: [6]uintptr{0, s.Empty, 0, s.Empty, emptyPath},
	}, tree, 0)
	s.Feed(at, move, 2)
}

// ReadOnly makes the mount at name in the root read-only.
func (s *Script) ReadOnly(name string) {
	at := s.Find(name)
	s.AddFed(rawproc.Op{
		Doing: "make /" + name + " read-only", Trap: unix.SYS_MOUNT_SETATTR,
		Args: [6]uintptr{0, s.Empty, unix.AT_EMPTY_PATH, s.ro, unsafe.Sizeof(unix.MountAttr{})},
	}, at, 0)
}

// ReadOnlyRoot makes the mount of the root read-only, and no mount in it.
func (s *Script) ReadOnlyRoot() {
	s.Call("make the root read-only", 0, unix.SYS_MOUNT_SETATTR, s.C.Root.Dir.Fd(), s.Empty, unix.AT_EMPTY_PATH, s.ro,
		unsafe.Sizeof(unix.MountAttr{}))
}

// Stdio makes the three standard streams the child's descriptors 0 to 2.
func (s *Script) Stdio(h Handles) {
	for i, fd := range h.Stdio {
		s.Call("set up standard streams", 0, unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
}

// CloseRest closes all descriptors but the standard streams, so that none leaks to the step, or can be used by a path
// like /proc/self/fd/N when the kernel looks for the program.
func (s *Script) CloseRest() {
	s.Call("close descriptors", 0, unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), 0)
}

// EnterCwd is what the calls of Script.EnterCwd are doing, for people.
const EnterCwd = "enter the working directory"

// EnterCwd changes to the working directory. It refuses magic links such as /proc/self/fd/7, which could lead out of
// the root.
func (s *Script) EnterCwd() {
	if s.C.Step.Cwd == "" || s.C.Step.Cwd == "/" {
		return
	}
	how := rawproc.Pin(&s.Program, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS,
	})
	dir := s.Call(EnterCwd, 0, unix.SYS_OPENAT2, AtFDCWD, s.String(s.C.Step.Cwd), how, unix.SizeofOpenHow)
	s.AddFed(rawproc.Op{Doing: EnterCwd, Trap: unix.SYS_FCHDIR}, dir, 0)
}

// Exec tries to execute each candidate for the step's program in turn.
func (s *Script) Exec() {
	s.Call("set umask", 0, unix.SYS_UMASK, 0o022)
	none := s.Bytes(make([]byte, 8))
	s.Call("unblock signals", 0, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, none, 0, 8)
	argv, envp := s.Strings(s.C.Step.Args), s.Strings(s.C.Env)
	s.paths = container.Candidates(s.C.Step.Args[0], s.C.Env)
	for _, p := range s.paths {
		s.execs = append(s.execs, s.Call("execute "+p, rawproc.Ignoring(unix.ENOENT, unix.EACCES, unix.ENOTDIR),
			unix.SYS_EXECVE, s.String(p), argv, envp))
	}
	// This call fails always, since the result of getpid is never zero: no candidate could be executed.
	s.Add(rawproc.Op{Doing: "execute", Trap: unix.SYS_GETPID, WantZero: true})
}

// Explain turns the failed call of the child into an error for people.
func (s *Script) Explain(f *rawproc.Failure) error {
	doing := f.Doing
	switch {
	case len(s.execs) > 0 && f.Op >= s.execs[0]:
		return s.startError(f)
	case doing == EnterCwd && f.Errno == unix.ELOOP:
		return &step.SetupError{Doing: fmt.Sprintf("%s %s: it must not be a link in /proc", EnterCwd, s.C.Step.Cwd),
			Err: f.Errno}
	case doing == EnterCwd && f.Errno == unix.ENOENT:
		return &step.SetupError{Doing: EnterCwd + " " + s.C.Step.Cwd, Err: step.ErrNoCwd}
	case doing == EnterCwd:
		return &step.SetupError{Doing: EnterCwd + " " + s.C.Step.Cwd, Err: f.Errno}
	case strings.HasPrefix(doing, SetLimit):
		return &step.SetupError{Doing: doing + ": it is more than this user may have (ulimit -H)", Err: f.Errno}
	case strings.HasPrefix(doing, Confine):
		return &step.SetupError{Doing: doing + ": is it loaded, and may this user change to it?", Err: f.Errno}
	case doing == become:
		return &step.SetupError{Doing: fmt.Sprintf("%s %d:%d", become, s.C.User.UID, s.C.User.GID), Err: f.Errno}
	case doing == "mount proc" && f.Errno == unix.EPERM:
		return &step.SetupError{Doing: "mount proc", Err: step.ErrHiddenProc}
	}
	return &step.SetupError{Doing: doing, Err: f.Errno}
}
