package executor

import (
	"fmt"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
)

const (
	atFDCWD   = ^uintptr(99) // -100
	emptyPath = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH
	cloneTree = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC
	nosuid    = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
)

// script is the program of a step's child.
type script struct {
	rawproc.Program
	c     *container
	plain uintptr  // address of an open_how that follows no link
	empty uintptr  // address of ""
	ro    uintptr  // address of a mount_attr that makes a mount read-only
	execs []int    // indexes of the execve calls, one for each candidate of the step's program
	paths []string // the candidates, in the same order
}

// handles are the descriptors, besides those of mounts, that the child needs.
type handles struct {
	stdio [3]int // standard input, output and error; each is 3 or more
	begin int    // an eventfd: the child waits for it
	self  int    // a pidfd of this process
}

// newScript gives a script without system calls.
func newScript(c *container) *script {
	s := &script{c: c}
	s.plain = rawproc.Pin(&s.Program, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	s.empty = s.String("")
	s.ro = rawproc.Pin(&s.Program, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return s
}

func (s *script) call(doing string, ignore uint64, trap uintptr, args ...uintptr) int {
	op := rawproc.Op{Doing: doing, Trap: trap, Ignore: ignore}
	copy(op.Args[:], args)
	return s.Add(op)
}

// settle cuts the child off from the caller's signals and session.
func (s *script) settle(h handles) {
	s.dieWithParent()
	// If the parent died before that call, the child gets no signal, so it looks whether the parent lives.
	fds := rawproc.Pin(&s.Program, &unix.PollFd{Fd: int32(h.self), Events: unix.POLLIN})
	now := rawproc.Pin(&s.Program, &unix.Timespec{})
	s.Add(rawproc.Op{Doing: "see that the parent lives", Trap: unix.SYS_PPOLL, Args: [6]uintptr{fds, 1, now},
		WantZero: true})
	count := rawproc.Pin(&s.Program, new(uint64))
	s.call("wait for the parent", 0, unix.SYS_READ, uintptr(h.begin), count, 8)
	s.call("start a session", 0, unix.SYS_SETSID)
	action := s.Bytes(make([]byte, 64)) // struct sigaction, all default
	for _, sig := range ignorable() {
		s.call("reset signals", 0, unix.SYS_RT_SIGACTION, uintptr(sig), action, 0, 8)
	}
}

// ownMounts cuts the child off from the caller's mounts, of which it has a copy.
func (s *script) ownMounts() {
	// Clones of a read-only mount are read-only, too. So a step can't change the owner and mode of the device nodes that
	// are cloned from here; it can write to the devices all the same.
	private := rawproc.Pin(&s.Program, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE})
	s.call("make mounts private", 0, unix.SYS_MOUNT_SETATTR, atFDCWD, s.String("/"), unix.AT_RECURSIVE, private,
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

func (s *script) dieWithParent() {
	s.call("die with the parent", 0, unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
}

// find opens name in the root; the descriptor is fed to the next call.
func (s *script) find(name string) int {
	return s.call("find /"+name, 0, unix.SYS_OPENAT2, s.c.root.dir.Fd(), s.String(name), s.plain, unix.SizeofOpenHow)
}

// attach moves the detached mount fd to name in the root.
func (s *script) attach(fd uintptr, name string) {
	at := s.find(name)
	s.AddFed(rawproc.Op{
		Doing: "mount /" + name, Trap: unix.SYS_MOVE_MOUNT, Args: [6]uintptr{fd, s.empty, 0, s.empty, emptyPath},
	}, at, 2)
}

// attachClone mounts a clone of path, below dir (or of a path of the caller's if dir is atFDCWD), at name in the root.
func (s *script) attachClone(dir uintptr, path, name string) {
	tree := s.call("clone "+path, 0, unix.SYS_OPEN_TREE, dir, s.String(path), cloneTree)
	at := s.find(name)
	move := s.AddFed(rawproc.Op{
		Doing: "mount /" + name, Trap: unix.SYS_MOVE_MOUNT, Args: [6]uintptr{0, s.empty, 0, s.empty, emptyPath},
	}, tree, 0)
	s.Feed(at, move, 2)
}

// readOnly makes the mount at name in the root read-only.
func (s *script) readOnly(name string) {
	at := s.find(name)
	s.AddFed(rawproc.Op{
		Doing: "make /" + name + " read-only", Trap: unix.SYS_MOUNT_SETATTR,
		Args: [6]uintptr{0, s.empty, unix.AT_EMPTY_PATH, s.ro, unsafe.Sizeof(unix.MountAttr{})},
	}, at, 0)
}

// stdio puts the three streams in place.
func (s *script) stdio(h handles) {
	for i, fd := range h.stdio {
		s.call("set up standard streams", 0, unix.SYS_DUP3, uintptr(fd), uintptr(i), 0)
	}
}

// closeRest closes all descriptors but the standard streams, so that none leaks to the step, or can be used by a path
// like /proc/self/fd/N when the kernel looks for the program.
func (s *script) closeRest() {
	s.call("close descriptors", 0, unix.SYS_CLOSE_RANGE, 3, uintptr(^uint32(0)), 0)
}

const enterCwd = "enter the working directory"

// enterCwd changes to the working directory. It refuses magic links such as /proc/self/fd/7, which could lead out of
// the root.
func (s *script) enterCwd() {
	if s.c.step.Cwd == "" || s.c.step.Cwd == "/" {
		return
	}
	how := rawproc.Pin(&s.Program, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS,
	})
	dir := s.call(enterCwd, 0, unix.SYS_OPENAT2, atFDCWD, s.String(s.c.step.Cwd), how, unix.SizeofOpenHow)
	s.AddFed(rawproc.Op{Doing: enterCwd, Trap: unix.SYS_FCHDIR}, dir, 0)
}

// exec tries to execute each candidate of the program in turn.
func (s *script) exec() {
	s.call("set umask", 0, unix.SYS_UMASK, 0o022)
	none := s.Bytes(make([]byte, 8))
	s.call("unblock signals", 0, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, none, 0, 8)
	argv, envp := s.Strings(s.c.step.Args), s.Strings(s.c.env)
	s.paths = candidates(s.c.step.Args[0], s.c.env)
	for _, p := range s.paths {
		s.execs = append(s.execs, s.call("execute "+p, rawproc.Ignoring(unix.ENOENT, unix.EACCES, unix.ENOTDIR),
			unix.SYS_EXECVE, s.String(p), argv, envp))
	}
	// This call fails always, since the result of getpid is never zero: no candidate could be executed.
	s.Add(rawproc.Op{Doing: "execute", Trap: unix.SYS_GETPID, WantZero: true})
}

func exists(name string) bool {
	var st unix.Stat_t
	return unix.Lstat("/"+name, &st) == nil
}

// explain turns the failed call of the child into an error for people.
func (s *script) explain(f *rawproc.Failure) error {
	doing := f.Doing
	switch {
	case len(s.execs) > 0 && f.Op >= s.execs[0]:
		return s.startError(f)
	case doing == enterCwd && f.Errno == unix.ELOOP:
		return &SetupError{fmt.Sprintf("%s %s: it must not be a link in /proc", enterCwd, s.c.step.Cwd), f.Errno}
	case doing == enterCwd && f.Errno == unix.ENOENT:
		return &SetupError{enterCwd + " " + s.c.step.Cwd, ErrNoCwd}
	case doing == enterCwd:
		return &SetupError{enterCwd + " " + s.c.step.Cwd, f.Errno}
	case strings.HasPrefix(doing, setLimit):
		return &SetupError{doing + ": it is more than this user may have (ulimit -H)", f.Errno}
	case doing == become:
		return &SetupError{fmt.Sprintf("%s %d:%d", become, s.c.user.UID, s.c.user.GID), f.Errno}
	case doing == "mount proc" && f.Errno == unix.EPERM:
		return &SetupError{"mount proc", ErrHiddenProc}
	}
	return &SetupError{doing, f.Errno}
}
