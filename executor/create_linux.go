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

// makeStubs makes name, and what is missing above it, below root. The times of the directory that existed already are kept, so that
// nothing there has changed once removeStubs is through. What was made is returned with an error too.
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
	var before, st unix.Stat_t
	fd := int(parent.Fd())
	if err := unix.Fstat(fd, &before); err != nil {
		return nil, err
	}
	err := makeEmpty(fd, name, dir)
	if errors.Is(err, unix.EEXIST) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, err
	}
	return &stub{parent: parent, name: name, ino: st.Ino, dir: dir}, setTimes(parent, before)
}

// makeEmpty makes a file or directory with the usual mode, whatever the umask of this process is.
func makeEmpty(dirfd int, name string, dir bool) error {
	mode := uint32(0o644)
	create := func() error { return unix.Mknodat(dirfd, name, unix.S_IFREG|mode, 0) }
	if dir {
		mode = 0o755
		create = func() error { return unix.Mkdirat(dirfd, name, mode) }
	}
	if err := create(); err != nil {
		return err
	}
	return unix.Fchmodat(dirfd, name, mode, 0)
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
	if unix.Fstat(fd, &before) != nil || unix.Fstatat(fd, s.name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Ino != s.ino {
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
