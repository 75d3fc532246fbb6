package unpack

import (
	"archive/tar"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// attributes are what a member says of its file besides its content.
type attributes struct {
	uid, gid uint32
	// mode is permission bits with setuid, setgid and sticky.
	mode   uint32
	times  [2]unix.Timespec // access, modification
	xattrs []xattr
	// lenient says that attributes which the user may not set are left out.
	lenient bool
}

type xattr struct{ name, value string }

// selinux is the attribute that belongs to the machine that a file lies on, and not to the image.
const selinux = "security.selinux"

func attributesOf(h *tar.Header, lenient bool) attributes {
	a := attributes{
		uid: uint32(h.Uid), gid: uint32(h.Gid), mode: uint32(h.Mode) & 0o7777, lenient: lenient,
		times: [2]unix.Timespec{timespec(latest(h.AccessTime, h.ModTime)), timespec(h.ModTime)},
	}
	if h.Typeflag == tar.TypeDir {
		a.times[0] = timespec(h.AccessTime)
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, ok := strings.CutPrefix(key, XattrRecord); ok && name != selinux {
			a.xattrs = append(a.xattrs, xattr{name, h.PAXRecords[key]})
		}
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// timespec is a time as the library gives it to a file: 1970 in place of what nanoseconds in 64 bits can't say.
func timespec(t time.Time) unix.Timespec {
	if t.Before(time.Unix(0, 0)) || t.After(time.Unix(0, 1<<63-1)) {
		return unix.Timespec{}
	}
	return unix.NsecToTimespec(t.UnixNano())
}

// set gives an open file or directory its attributes. A change of owner clears set-ID bits and capabilities, so it
// comes first.
func (a *attributes) set(fd int) error {
	if err := unix.Fchown(fd, int(a.uid), int(a.gid)); err != nil {
		return ownerError(err, a)
	}
	if err := unix.Fchmod(fd, a.mode); err != nil {
		return fmt.Errorf("set its mode: %w", err)
	}
	for _, x := range a.xattrs {
		if err := unix.Fsetxattr(fd, x.name, []byte(x.value), 0); err != nil && !a.ignores(err) {
			return fmt.Errorf("set %s: %w", x.name, err)
		}
	}
	return unix.UtimesNanoAt(fd, "", a.times[:], unix.AT_EMPTY_PATH)
}

// setAt gives the file of a name its attributes: one that isn't opened, as a symbolic link or a device. A link has
// no mode.
func (a *attributes) setAt(d *dir, name string, link bool) error {
	if err := unix.Fchownat(d.fd, name, int(a.uid), int(a.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return ownerError(err, a)
	}
	if !link {
		if err := unix.Fchmodat(d.fd, name, a.mode, 0); err != nil { // it follows no link: it isn't one
			return fmt.Errorf("set its mode: %w", err)
		}
	}
	for _, x := range a.xattrs {
		err := unix.Lsetxattr("/proc/self/fd/"+strconv.Itoa(d.fd)+"/"+name, x.name, []byte(x.value), 0)
		if err != nil && !a.ignores(err) {
			return fmt.Errorf("set %s: %w", x.name, err)
		}
	}
	return unix.UtimesNanoAt(d.fd, name, a.times[:], unix.AT_SYMLINK_NOFOLLOW)
}

// ignores tells whether an attribute may be left out for an error, as the library does.
func (a *attributes) ignores(err error) bool {
	return errors.Is(err, unix.ENOTSUP) || a.lenient && errors.Is(err, unix.EPERM)
}

// OwnerError says that a file could not be given its owner.
type OwnerError struct {
	UID, GID uint32
	Err      error
}

func (e *OwnerError) Error() string { return fmt.Sprintf("give it to %d:%d: %v", e.UID, e.GID, e.Err) }

// Unwrap gives the cause.
func (e *OwnerError) Unwrap() error { return e.Err }

func ownerError(err error, a *attributes) error { return &OwnerError{a.uid, a.gid, err} }

// at says which file an error is about.
func at(err error, name string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("unpack %q: %w", name, err)
}

// full are the errors that say nothing of an archive, but of the machine.
func full(err error) bool {
	for _, e := range []error{unix.ENOSPC, unix.EDQUOT, unix.EIO, unix.EROFS, unix.ENOMEM, unix.EMFILE, unix.ENFILE,
		unix.EFBIG} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// openParent opens a directory of the layer; no link leads to it.
func openParent(root int, path string) (int, error) {
	return fsys.OpenPlain(root, relative(path), unix.O_PATH|unix.O_DIRECTORY)
}

// relative is a member's path relative to the root directory.
func relative(path string) string {
	if path == "/" {
		return "."
	}
	return strings.TrimPrefix(path, "/")
}

// linkTime is a time as the library gives it to a symbolic link.
func linkTime(t time.Time) unix.Timespec {
	if t.IsZero() {
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	}
	return unix.NsecToTimespec(t.UnixNano())
}
