package executor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// stub is an empty file or directory that was made only to be mounted on.
type stub struct {
	parent *os.File
	name   string // in parent
	full   string // relative to the root
	ino    uint64
	dir    bool
}

// makeStubs makes name, and what is missing above it, below root. The times of the directory that existed already are
// kept, so that nothing there has changed once removeStubs is through. What was made is returned with an error too.
func makeStubs(root *os.File, name string, dir bool) ([]stub, error) {
	parent, err := openPlain(root, ".", unix.O_PATH)
	if err != nil {
		return nil, err
	}
	var made []stub
	elements := strings.Split(name, "/")
	for i, element := range elements {
		wantDir := dir || i < len(elements)-1
		s, err := makeStub(parent, element, wantDir)
		if err != nil {
			parent.Close()
			return made, fmt.Errorf("make mount point /%s: %w", name, err)
		}
		if s != nil {
			s.full = path.Join(elements[:i+1]...)
			made = append(made, *s)
		} else {
			parent.Close()
		}
		if i == len(elements)-1 {
			break
		}
		if parent, err = openPlain(root, path.Join(elements[:i+1]...), unix.O_PATH|unix.O_DIRECTORY); err != nil {
			return made, err
		}
	}
	return made, nil
}

// makeAll is makeStubs for what need not be removed one by one.
func makeAll(root *os.File, p point) error {
	made, err := makeStubs(root, p.name, p.dir)
	for _, s := range made {
		s.parent.Close()
	}
	return err
}

// makeStub makes one element, unless it is there (nil). The stub keeps parent.
func makeStub(parent *os.File, name string, dir bool) (*stub, error) {
	var before unix.Stat_t
	fd := int(parent.Fd())
	if err := unix.Fstat(fd, &before); err != nil {
		return nil, err
	}
	st, err := makeEmpty(fd, name, dir)
	if errors.Is(err, unix.EEXIST) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &stub{parent: parent, name: name, ino: st.Ino, dir: dir}, setTimes(parent, before)
}

// makeEmpty makes a file or directory with the usual mode, whatever the umask of this process is, and says what it is.
func makeEmpty(dirfd int, name string, dir bool) (unix.Stat_t, error) {
	var err error
	mode := emptyMode(dir)
	if dir {
		err = unix.Mkdirat(dirfd, name, mode&0o777)
	} else {
		err = unix.Mknodat(dirfd, name, mode, 0)
	}
	if err != nil {
		return unix.Stat_t{}, err
	}
	return settleEmpty(dirfd, name, mode)
}

// emptyMode is the type and mode of an empty file or directory.
func emptyMode(dir bool) uint32 {
	if dir {
		return unix.S_IFDIR | 0o755
	}
	return unix.S_IFREG | 0o644
}

// errSwapped says that a mount point isn't what was made.
var errSwapped = errors.New("another process has put something else there")

// settleEmpty gives what was just made its mode. Others can write to the directories of some mounts, and may have put
// anything in its place, a link to a file of the host say: so it is opened first, and touched only if it looks as new.
func settleEmpty(dirfd int, name string, mode uint32) (st unix.Stat_t, err error) {
	fd, err := unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.Fstat(fd, &st); err != nil {
		return st, err
	}
	// The umask and an ACL take bits away, and a directory may inherit its group.
	sameKind := (st.Mode^mode)&unix.S_IFMT == 0 && st.Mode&0o7777&^(mode|unix.S_ISGID) == 0
	if empty := st.Nlink == 1 && st.Size == 0 || mode&unix.S_IFMT == unix.S_IFDIR && st.Nlink <= 2; !sameKind || !empty {
		return st, errSwapped
	}
	if st.Mode == mode {
		return st, nil
	}
	return st, unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode&0o7777)
}

// removeStubs undoes makeStubs: it removes what is still there, still the same and still empty.
func removeStubs(made []stub) {
	for i := len(made) - 1; i >= 0; i-- {
		made[i].remove()
		made[i].parent.Close()
	}
}

func (s stub) remove() {
	var before, st unix.Stat_t
	fd := int(s.parent.Fd())
	if unix.Fstat(fd, &before) != nil || unix.Fstatat(fd, s.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		st.Ino != s.ino {
		return
	}
	switch isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case isDir != s.dir:
		return
	case isDir:
		if unix.Unlinkat(fd, s.name, unix.AT_REMOVEDIR) != nil { // not empty: the step's own now
			return
		}
	case st.Size != 0 || unix.Unlinkat(fd, s.name, 0) != nil:
		return
	}
	_ = setTimes(s.parent, before) // what the step has done to the directory stays visible in its time
}

func setTimes(f *os.File, st unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), times, 0)
}

// ensureDir opens the directory name in parent, making it if it is missing.
func ensureDir(parent *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make directory %s in %s: %w", name, parent.Name(), err)
	}
	return openPlain(parent, name, unix.O_PATH|unix.O_DIRECTORY)
}
