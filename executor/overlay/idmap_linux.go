package overlay

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// ErrNoIDMap says that a file system can't show its files through an ID map.
var ErrNoIDMap = errors.New("file system does not support ID-mapped mounts")

// NewUserNS makes a user namespace with the map and returns a descriptor that keeps it alive.
func NewUserNS(m userns.Mapping) (*os.File, error) {
	ns, err := newUserNS(m)
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	return ns, nil
}

func newUserNS(m userns.Mapping) (ns *os.File, err error) {
	// The child is killed when the thread that started it ends, so this goroutine keeps its thread until it is done.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	opened, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(opened) }()
	var p rawproc.Program
	p.Add(rawproc.Op{Doing: "die with the parent", Trap: unix.SYS_PRCTL,
		Args: [6]uintptr{unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL)}})

	// The child shares this process's memory, which the kernel may have closed to others (see rawproc): then only the
	// child itself can open its namespace without CAP_SYS_PTRACE.
	at := p.Add(rawproc.Op{Doing: "open it", Trap: unix.SYS_OPENAT, Args: [6]uintptr{0, p.String("/proc/self/ns/user"),
		unix.O_CLOEXEC}})
	one := p.Bytes([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	p.Add(rawproc.Op{Doing: "tell", Trap: unix.SYS_WRITE, Args: [6]uintptr{uintptr(opened), one, 8}})

	// The child only has to exist until its maps are written. Then it is killed; if this process can't do so any more,
	// the child ends by itself after 10 seconds.
	p.Add(rawproc.Op{Doing: "wait", Trap: unix.SYS_PPOLL,
		Args: [6]uintptr{0, 0, rawproc.Pin(&p, &unix.Timespec{Sec: 10})}})
	c, err := p.Start(unix.CLONE_NEWUSER | unix.CLONE_FILES)
	if err != nil {
		return nil, err
	}
	defer func() {
		c.Kill()
		_, _, failed := c.Reap()
		if ns == nil && failed != nil {
			err = failed // it says which call of the child failed
		}
	}()

	if err := c.WaitEvent(opened); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(p.Result(at)), "user namespace")
	if err := reexec.WriteMaps(c.Pid, m); err != nil {
		return nil, errors.Join(err, file.Close())
	}

	return file, nil
}

// mapOwners turns the detached mount fd into an ID-mapped one.
func mapOwners(fd int, ns *os.File) error {
	err := setAttr(fd, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())}, 0)
	switch {
	case errors.Is(err, unix.EINVAL):
		var fs unix.Statfs_t
		_ = unix.Fstatfs(fd, &fs)
		return fmt.Errorf("map owners: %w (type %#x): put the build on ext4, xfs, btrfs or tmpfs", ErrNoIDMap, fs.Type)
	case err != nil:
		return fmt.Errorf("map owners: %w", err)
	}
	return nil
}

// cloneLayers makes clones of all the layers, ID-mapped ones where o says so. The caller closes the files in own of the
// result, also after an error.
func cloneLayers(o Options) (layers, error) {
	l := layers{upper: -1, work: -1}
	lowerNS := o.UserNS
	if o.LowerMapped || o.LowerNS != nil {
		lowerNS = o.LowerNS
	}
	for _, f := range o.Lower {
		fd, err := l.clone(int(f.Fd()), lowerNS)
		if err != nil {
			return l, fmt.Errorf("layer %s: %w", f.Name(), err)
		}
		l.lower = append(l.lower, fd)
	}
	if o.Upper == nil {
		return l, nil
	}
	if err := l.cloneUpper(o); err != nil {
		return l, fmt.Errorf("upper directory %s: %w", o.Upper.Name(), err)
	}
	return l, nil
}

// clone makes a detached clone of the tree at fd. If fd is a detached mount itself, which older kernels don't clone, it
// stands for its own clone.
func (l *layers) clone(fd int, ns *os.File) (int, error) {
	clone, err := cloneTree(fd)
	if err != nil && ns == nil {
		clone, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil {
		return -1, fmt.Errorf("clone: %w", err)
	}
	l.own, l.mounts = append(l.own, clone), append(l.mounts, clone)
	if ns != nil {
		return clone, mapOwners(clone, ns)
	}
	return clone, nil
}

// cloneUpper clones the nearest directory that has both Upper and Work below it, and finds those two in the clone:
// overlay wants them in one mount.
func (l *layers) cloneUpper(o Options) error {
	upper, err := os.Readlink(fdPath(int(o.Upper.Fd())))
	if err != nil {
		return err
	}

	work, err := os.Readlink(fdPath(int(o.Work.Fd())))
	if err != nil {
		return err
	}

	depth, upperRel, workRel := common(upper, work)
	dir, err := unix.Open(fdPath(int(o.Upper.Fd()))+strings.Repeat("/..", depth),
		unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(dir) }()
	clone, err := l.clone(dir, o.UserNS)
	if err != nil {
		return err
	}

	if l.upper, err = l.reopen(clone, upperRel, o.Upper); err != nil {
		return err
	}
	l.work, err = l.reopen(clone, workRel, o.Work)
	return err
}

// reopen opens rel below the clone, and checks that it is the same directory as same, which is open outside of it.
func (l *layers) reopen(clone int, rel string, same *os.File) (int, error) {
	fd, err := fsys.OpenPlain(clone, rel, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, fmt.Errorf("open %s again: %w", rel, err)
	}
	l.own = append(l.own, fd)
	if !sameInode(fd, int(same.Fd())) { // the directory was renamed after its path was read
		return -1, fmt.Errorf("open %s again: %w", rel, unix.ESTALE)
	}
	return fd, nil
}

// common finds the nearest directory that has both a and b below it. depth is how many levels it is above a; relA and
// relB are the paths of a and b relative to it.
func common(a, b string) (depth int, relA, relB string) {
	dir := filepath.Dir(a)
	for depth = 1; dir != "/" && !strings.HasPrefix(b, dir+"/"); depth++ {
		dir = filepath.Dir(dir)
	}
	prefix := strings.TrimSuffix(dir, "/") + "/"
	return depth, strings.TrimPrefix(a, prefix), strings.TrimPrefix(b, prefix)
}

func sameInode(a, b int) bool {
	var x, y unix.Stat_t
	return unix.Fstat(a, &x) == nil && unix.Fstat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}
