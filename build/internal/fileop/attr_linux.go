package fileop

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// attrs are the attributes that a file in the layer gets.
type attrs struct {
	uid, gid uint32
	// mode is permission bits with setuid, setgid and sticky.
	mode   uint32
	mtime  unix.Timespec
	xattrs []source.Xattr
}

// omitTime leaves a file's time as it is.
func omitTime() unix.Timespec { return unix.Timespec{Nsec: unix.UTIME_OMIT} }

// attrsOf reads the attributes of an open file.
func attrsOf(fd int, owners bool) (*attrs, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	xattrs, err := source.Xattrs(fd, owners)
	if err != nil {
		return nil, err
	}
	return &attrs{uid: st.Uid, gid: st.Gid, mode: st.Mode & 0o7777, mtime: st.Mtim, xattrs: xattrs}, nil
}

// setter gives the files that this process makes their attributes, and records their owners. Several goroutines use it.
type setter struct {
	// uid and gid own the files that this process makes; umask has the bits that their modes lack.
	uid, gid, umask uint32

	given ownerSet
}

func newSetter() *setter {
	s := &setter{umask: umask()}
	s.uid, s.gid = fsys.OwnIDs()

	return s
}

// dir gives a directory its attributes, whatever it has now.
func (s *setter) dir(fd int, a *attrs) error {
	s.given.add(Owner{a.uid, a.gid})
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Uid != a.uid || st.Gid != a.gid {
		if err := chown(fd, a); err != nil {
			return err
		}
	}
	if st.Mode&0o7777 != a.mode || st.Gid != a.gid {
		if err := unix.Fchmod(fd, a.mode); err != nil {
			return err
		}
	}
	if err := setXattrs(fd, a.xattrs); err != nil {
		return err
	}
	return setTime(fd, a.mtime)
}

// SetDirAttributes gives the directory at path the owner, mode, modification time and extended attributes of another
// one.
func SetDirAttributes(path string, st *unix.Stat_t, xattrs []source.Xattr) (err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
		return &os.PathError{Op: "chown", Path: path, Err: err}
	}
	if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
		return &os.PathError{Op: "chmod", Path: path, Err: err}
	}
	if err := setXattrs(fd, xattrs); err != nil {
		return &os.PathError{Op: "set attributes of", Path: path, Err: err}
	}
	return setTime(fd, st.Mtim)
}

// file gives a regular file that this process has just made in d its attributes. The order matters: a change of
// owner clears setuid and the capabilities.
func (s *setter) file(d *dir, fd int, a *attrs) error {
	s.given.add(Owner{a.uid, a.gid})
	if a.uid != s.uid || a.gid != s.gid || d.inherits {
		if err := chown(fd, a); err != nil {
			return err
		}
	}
	if a.mode&^0o777 != 0 || a.mode&s.umask != 0 || d.inherits {
		if err := unix.Fchmod(fd, a.mode); err != nil {
			return err
		}
	}
	if err := setXattrs(fd, a.xattrs); err != nil {
		return err
	}
	return setTime(fd, a.mtime)
}

// named gives a symlink, FIFO or device its attributes.
func (s *setter) named(d *dir, name string, a *attrs) error {
	s.given.add(Owner{a.uid, a.gid})
	if a.uid != s.uid || a.gid != s.gid || d.inherits {
		if err := unix.Fchownat(d.layer, name, int(a.uid), int(a.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return ownerError(err, a)
		}
	}
	return unix.UtimesNanoAt(d.layer, name, times(a.mtime), unix.AT_SYMLINK_NOFOLLOW)
}

func chown(fd int, a *attrs) error {
	if err := unix.Fchown(fd, int(a.uid), int(a.gid)); err != nil {
		return ownerError(err, a)
	}
	return nil
}

// ownerError turns EINVAL of chown into an OwnerError: the owner isn't mapped in this process's user namespace.
func ownerError(err error, a *attrs) error {
	if errors.Is(err, unix.EINVAL) {
		return &OwnerError{Owner{a.uid, a.gid}, err}
	}
	return fmt.Errorf("set owner %d:%d: %w", a.uid, a.gid, err)
}

// setXattrs sets extended attributes. On a file system without user.* attributes it drops those, as cp does; for
// capabilities and ACLs it fails.
func setXattrs(fd int, xattrs []source.Xattr) error {
	for _, x := range xattrs {
		err := unix.Fsetxattr(fd, x.Name, x.Value, 0)
		if errors.Is(err, unix.ENOTSUP) && strings.HasPrefix(x.Name, "user.") {
			continue
		}
		if err != nil {
			return fmt.Errorf("set %s: %w", x.Name, err)
		}
	}
	return nil
}

// times are an access time that stays and a modification time.
func times(mtime unix.Timespec) []unix.Timespec { return []unix.Timespec{omitTime(), mtime} }

func setTime(fd int, mtime unix.Timespec) error {
	if mtime.Nsec == unix.UTIME_OMIT {
		return nil
	}
	return unix.UtimesNanoAt(fd, "", times(mtime), unix.AT_EMPTY_PATH)
}

// umask reads the process's umask from /proc: the system call would have to change it, for all threads. If it can't be
// read, the result makes the caller set every mode explicitly.
func umask() uint32 {
	const unknown = 0o777
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return unknown
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "Umask:"); ok {
			if mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32); err == nil {
				return uint32(mask)
			}
		}
	}
	return unknown
}
