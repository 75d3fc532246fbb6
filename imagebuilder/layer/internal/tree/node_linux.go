package tree

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// Node is a file with extended attributes: an open file, an O_PATH handle of a file that can't be opened or, only
// to read its attributes, a name in an open directory.
type Node struct {
	FD   int
	Name string // name of the file in the directory FD; empty: FD is the file itself
	// handle tells that FD was opened with O_PATH, so that most calls have to reach the file through /proc/self/fd.
	handle bool
}

// OpenNode gets an O_PATH handle of the file that has the name in a directory, of any type, a symbolic link too. The
// caller reads and changes that one file through it, even if another process exchanges names meanwhile. The caller
// closes its FD.
func OpenNode(dir int, name string) (Node, error) {
	fd, err := fsys.Retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	return Node{FD: fd, handle: true}, err
}

// Path gives a path to the file Name in FD, for calls that don't follow a symbolic link.
func (f Node) Path() string { return f.link() + "/" + f.Name }

// link gives a path to the file that FD has open, for calls that follow symbolic links. The path is a link of procfs:
// it leads to that file, and no further even if the file is a symbolic link.
func (f Node) link() string { return "/proc/self/fd/" + strconv.Itoa(f.FD) }

func (f Node) list(buf []byte) (int, error) {
	switch {
	case f.handle:
		return unix.Listxattr(f.link(), buf)
	case f.Name == "":
		return unix.Flistxattr(f.FD, buf)
	}
	return unix.Llistxattr(f.Path(), buf)
}

func (f Node) get(attr string, buf []byte) (int, error) {
	switch {
	case f.handle:
		return unix.Getxattr(f.link(), attr, buf)
	case f.Name == "":
		return unix.Fgetxattr(f.FD, attr, buf)
	}
	return unix.Lgetxattr(f.Path(), attr, buf)
}

// Chown, Chmod, Set and SetTimes work on open files and handles only: a name could mean another file by now.

// Chown changes the owner.
func (f Node) Chown(uid, gid uint32) error {
	return unix.Fchownat(f.FD, "", int(uid), int(gid), unix.AT_EMPTY_PATH)
}

// Chmod changes the mode.
func (f Node) Chmod(mode uint32) error {
	if f.handle {
		return unix.Chmod(f.link(), mode)
	}
	return unix.Fchmod(f.FD, mode)
}

// Set sets an extended attribute.
func (f Node) Set(attr, value string) error {
	if f.handle {
		return unix.Setxattr(f.link(), attr, []byte(value), 0)
	}
	return unix.Fsetxattr(f.FD, attr, []byte(value), 0)
}

// SetTimes sets the times of the last access and modification.
func (f Node) SetTimes(access, modification unix.Timespec) error {
	return unix.UtimesNanoAt(f.FD, "", []unix.Timespec{access, modification}, unix.AT_EMPTY_PATH)
}
