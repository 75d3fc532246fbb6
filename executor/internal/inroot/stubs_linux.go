package inroot

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Stub is an empty file or directory that was made only to be mounted on.
type Stub struct {
	Parent *os.File // the directory that it is in; RemoveStubs closes it
	Name   string   // in Parent
	Full   string   // path relative to the root
	ino    uint64   // inode number when it was made
	dir    bool     // it is a directory
}

// MakeStubs makes name below root, with its missing parents. The directory that existed already keeps its times, so
// that after RemoveStubs it is as it was. The stubs that were made are returned also with an error.
func MakeStubs(root *os.File, name string, dir bool) ([]Stub, error) {
	parent, err := OpenPlain(root, ".", unix.O_PATH)
	if err != nil {
		return nil, err
	}

	var made []Stub
	elements := strings.Split(name, "/")
	for i, element := range elements {
		wantDir := dir || i < len(elements)-1
		s, err := makeStub(parent, element, wantDir)
		if err != nil {
			parent.Close()
			return made, fmt.Errorf("make mount point /%s: %w", name, err)
		}
		if s != nil {
			s.Full = path.Join(elements[:i+1]...)
			made = append(made, *s)
		} else {
			parent.Close()
		}
		if i == len(elements)-1 {
			break
		}
		if parent, err = OpenPlain(root, path.Join(elements[:i+1]...), unix.O_PATH|unix.O_DIRECTORY); err != nil {
			return made, err
		}
	}

	return made, nil
}

// Point is a mount point that is wanted in the root.
type Point struct {
	Name string // path relative to the root, clean
	Dir  bool   // a directory is wanted, else a file
}

// MakeAll does what MakeStubs does, for stubs that aren't removed one by one.
func MakeAll(root *os.File, p Point) error {
	made, err := MakeStubs(root, p.Name, p.Dir)
	for _, s := range made {
		s.Parent.Close()
	}
	return err
}

// makeStub makes one file or directory in parent; nil if it exists already. The stub keeps parent open.
func makeStub(parent *os.File, name string, dir bool) (*Stub, error) {
	var before unix.Stat_t
	fd := int(parent.Fd())
	if err := unix.Fstat(fd, &before); err != nil {
		return nil, err
	}
	st, err := MakeEmpty(fd, name, dir)
	if errors.Is(err, unix.EEXIST) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &Stub{Parent: parent, Name: name, ino: st.Ino, dir: dir}, SetTimes(parent, before)
}

// MakeEmpty makes a file or directory with mode 0755 or 0644, whatever the umask of this process is, and
// gives its attributes.
func MakeEmpty(dirfd int, name string, dir bool) (unix.Stat_t, error) {
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

// errSwapped means that a mount point isn't the file that was made for it.
var errSwapped = errors.New("another process has put something else there")

// settleEmpty gives the file that was just made its mode. Other processes can write to the directories of some mounts,
// and may have exchanged the file, for example for a link to a file of the host. So the file is opened first, and
// changed only if it looks like a new one.
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

// RemoveStubs removes the stubs that still exist, are the same files as when they were made, and are empty.
func RemoveStubs(made []Stub) {
	for i := len(made) - 1; i >= 0; i-- {
		made[i].remove()
		made[i].Parent.Close()
	}
}

func (s Stub) remove() {
	var before, st unix.Stat_t
	fd := int(s.Parent.Fd())
	if unix.Fstat(fd, &before) != nil || unix.Fstatat(fd, s.Name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		st.Ino != s.ino {
		return
	}
	switch isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; {
	case isDir != s.dir:
		return
	case isDir:
		if unix.Unlinkat(fd, s.Name, unix.AT_REMOVEDIR) != nil { // not empty: the step uses the directory, so it stays
			return
		}
	case st.Size != 0 || unix.Unlinkat(fd, s.Name, 0) != nil:
		return
	}
	_ = SetTimes(s.Parent, before) // the parent gets back the times that the step left it with
}

// SetTimes gives a file the access and modification times in st.
func SetTimes(f *os.File, st unix.Stat_t) error {
	times := []unix.Timespec{st.Atim, st.Mtim}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), times, 0)
}

// EnsureDir opens the directory name in parent, making it if it is missing.
func EnsureDir(parent *os.File, name string) (*os.File, error) {
	if err := unix.Mkdirat(int(parent.Fd()), name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make directory %s in %s: %w", name, parent.Name(), err)
	}
	return OpenPlain(parent, name, unix.O_PATH|unix.O_DIRECTORY)
}
