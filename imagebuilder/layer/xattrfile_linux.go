package layer

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// xattrFile is something with extended attributes: an open file, a handle of what can't be opened or, to be read only,
// a name in an open directory.
type xattrFile struct {
	fd   int
	name string // "": fd itself
	// handle says that fd was opened with O_PATH, which few system calls take.
	handle bool
}

// openNode gets hold of whatever has the name in a directory, a symbolic link itself too, without opening it for
// reading. Through the handle, what is looked at and what is changed are the same, even while somebody exchanges names.
// The caller closes its fd.
func openNode(dir int, name string) (xattrFile, error) {
	fd, err := fsys.Retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	return xattrFile{fd: fd, handle: true}, err
}

// path reaches a name without following it if it is a symbolic link.
func (f xattrFile) path() string { return f.link() + "/" + f.name }

// link reaches fd itself for calls that follow links: this one leads to what is open, and no further if that is a
// symbolic link.
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

// chown, chmod, set and setTimes are for open files and handles, not for names: those may have come to mean something
// else.

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
