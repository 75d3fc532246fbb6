package layer

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// xattrFile is a file with extended attributes: an open file, an O_PATH handle of a file that can't be opened or, only
// to read its attributes, a name in an open directory.
type xattrFile struct {
	fd   int
	name string // name of the file in the directory fd; empty: fd is the file itself
	// handle tells that fd was opened with O_PATH, so that most calls have to reach the file through /proc/self/fd.
	handle bool
}

// openNode gets an O_PATH handle of the file that has the name in a directory, of any type, a symbolic link too. The
// caller reads and changes that one file through it, even if another process exchanges names meanwhile. The caller
// closes its fd.
func openNode(dir int, name string) (xattrFile, error) {
	fd, err := fsys.Retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	return xattrFile{fd: fd, handle: true}, err
}

// path gives a path to the file name in fd, for calls that don't follow a symbolic link.
func (f xattrFile) path() string { return f.link() + "/" + f.name }

// link gives a path to the file that fd has open, for calls that follow symbolic links. The path is a link of procfs:
// it leads to that file, and no further even if the file is a symbolic link.
func (f xattrFile) link() string { return "/proc/self/fd/" + strconv.Itoa(f.fd) }

func (f xattrFile) list(buf []byte) (int, error) {
	switch {
	case f.handle:
		return unix.Listxattr(f.link(), buf)
	case f.name == "":
		return unix.Flistxattr(f.fd, buf)
	}
	return unix.Llistxattr(f.path(), buf)
}

func (f xattrFile) get(attr string, buf []byte) (int, error) {
	switch {
	case f.handle:
		return unix.Getxattr(f.link(), attr, buf)
	case f.name == "":
		return unix.Fgetxattr(f.fd, attr, buf)
	}
	return unix.Lgetxattr(f.path(), attr, buf)
}

// chown, chmod, set and setTimes work on open files and handles only: a name could mean another file by now.

func (f xattrFile) chown(uid, gid uint32) error {
	return unix.Fchownat(f.fd, "", int(uid), int(gid), unix.AT_EMPTY_PATH)
}

func (f xattrFile) chmod(mode uint32) error {
	if f.handle {
		return unix.Chmod(f.link(), mode)
	}
	return unix.Fchmod(f.fd, mode)
}

func (f xattrFile) set(attr, value string) error {
	if f.handle {
		return unix.Setxattr(f.link(), attr, []byte(value), 0)
	}
	return unix.Fsetxattr(f.fd, attr, []byte(value), 0)
}

func (f xattrFile) setTimes(access, modification unix.Timespec) error {
	return unix.UtimesNanoAt(f.fd, "", []unix.Timespec{access, modification}, unix.AT_EMPTY_PATH)
}
