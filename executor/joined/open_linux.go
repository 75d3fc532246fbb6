package joined

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/userns"
)

// Open opens the user namespace at path, such as /proc/PID/ns/user, for the UserNS of steps, and reads its map.
// It is nil if the namespace is the caller's own. The errors name the path.
func Open(path string) (*UserNS, error) {
	u, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("join user namespace %s: %w", path, err)
	}
	return u, nil
}

func open(path string) (*UserNS, error) {
	file, err := openNamespace(path)
	if err != nil {
		return nil, err
	}
	u := &UserNS{File: file}
	own, err := isOwn(file)
	if err == nil && !own {
		err = visit(file, u.readFrom)
	}
	if err != nil || own {
		return nil, errors.Join(err, file.Close())
	}
	return u, nil
}

// openNamespace opens the namespace at path. It makes sure first that path is one: opening a pipe or a device can have
// effects.
func openNamespace(path string) (*os.File, error) {
	at, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.EACCES) && onFS(path, unix.PROC_SUPER_MAGIC): // the link exists, but may not be followed
		return nil, ErrNotAbove
	case err != nil:
		return nil, err
	}
	defer unix.Close(at)
	var fs unix.Statfs_t
	if err := unix.Fstatfs(at, &fs); err != nil {
		return nil, err
	}

	if fs.Type != unix.NSFS_MAGIC {
		return nil, ErrNotUserNS
	}
	file, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", at))
	if err != nil {
		return nil, err
	}

	kind, err := unix.IoctlRetInt(int(file.Fd()), unix.NS_GET_NSTYPE)
	if err == nil && kind != unix.CLONE_NEWUSER {
		err = ErrNotUserNS
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}

	return file, nil
}

// onFS tells whether the link at path is on a file system of the type magic.
func onFS(path string, magic int64) bool {
	var fs unix.Statfs_t
	return unix.Statfs(filepath.Dir(path), &fs) == nil && fs.Type == magic
}

// isOwn says whether a namespace is the one this process is in.
func isOwn(file *os.File) (bool, error) { return isAt("/proc/self/ns/user", file) }

// isAt tells whether the link at path leads to the namespace file.
func isAt(path string, file *os.File) (bool, error) {
	var at, st unix.Stat_t
	if err := unix.Stat(path, &at); err != nil {
		return false, err
	}
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return false, err
	}
	return at.Dev == st.Dev && at.Ino == st.Ino, nil
}

// visit calls look with the ID of a process that has joined the namespace ns: the kernel shows only maps of processes.
func visit(ns *os.File, look func(pid int) error) (err error) {
	joined, signal, err := os.Pipe()
	if err != nil {
		return err
	}
	defer joined.Close()
	var p rawproc.Program
	p.Add(rawproc.Op{Doing: "enter it", Trap: unix.SYS_SETNS, Args: [6]uintptr{ns.Fd(), unix.CLONE_NEWUSER}})
	p.Add(rawproc.Op{Doing: "tell", Trap: unix.SYS_WRITE, Args: [6]uintptr{signal.Fd(), p.Bytes([]byte{1}), 1}})

	// The child ends by itself if this process doesn't end it.
	p.Add(rawproc.Op{Doing: "wait", Trap: unix.SYS_PPOLL,
		Args: [6]uintptr{0, 0, rawproc.Pin(&p, &unix.Timespec{Sec: 60})}})
	child, err := p.Start(0)
	if err = errors.Join(err, signal.Close()); child == nil {
		return err
	}

	in := false
	if err == nil {
		n, readErr := joined.Read(make([]byte, 1))
		if in = n == 1; in {
			err = look(child.Pid)
		} else {
			err = readErr // the child has an error that explains more
		}
	}

	child.Kill()
	_, _, failed := child.Reap()
	switch {
	case errors.Is(failed, unix.EPERM):
		return ErrNotAbove
	case failed != nil && !in:
		return failed
	}

	return err
}

// readFrom reads the maps of a process as the caller's namespace sees them, and refuses those that no step can have.
func (u *UserNS) readFrom(pid int) (err error) {
	if u.ListedUIDs, u.ListedGIDs, err = listedMaps(pid); err != nil {
		return err
	}
	for _, f := range []struct {
		kind   string
		listed []userns.Range
		to     *userns.Map
	}{{userns.KindUID, u.ListedUIDs, &u.Mapping.UIDs}, {userns.KindGID, u.ListedGIDs, &u.Mapping.GIDs}} {
		if *f.to, err = userns.NewMap(f.listed...); err != nil {
			return fmt.Errorf("its %s map: %w", f.kind, err)
		}
		if _, err := f.to.ToHost(0); err != nil {
			return fmt.Errorf("its %s map has no container ID 0, which a RUN step needs: it is %s",
				f.kind, strings.ReplaceAll(f.to.String(), "\n", ", "))
		}
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/setgroups", pid))
	u.NoGroups = strings.TrimSpace(string(groups)) == "deny"
	return err
}

// listedMaps are the lines of a process's maps.
func listedMaps(pid int) (uids, gids []userns.Range, err error) {
	for _, f := range []struct {
		kind string
		to   *[]userns.Range
	}{{userns.KindUID, &uids}, {userns.KindGID, &gids}} {
		if *f.to, err = userns.ReadRanges(fmt.Sprintf("/proc/%d", pid), f.kind); err != nil {
			return nil, nil, fmt.Errorf("its %s map: %w", f.kind, err)
		}
		if len(*f.to) == 0 {
			return nil, nil, fmt.Errorf("it has no %s map: write its /proc/PID/%s_map first (newuidmap and newgidmap do)",
				f.kind, f.kind)
		}
	}
	return uids, gids, nil
}
