package memfs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// ShmDir is where a step expects POSIX shared memory, in the memory file system as in the step.
const ShmDir = "dev/shm"

// FS is the memory file system, a detached mount. The step can't write to it yet when a method is called, so that no
// name is a hostile link. All names are relative to it, and its files belong to the container's root unless they are
// given away.
type FS struct {
	Dir *os.File
	// Shm is the memory file system for ShmDir: a separate one, because other files would take part of its size. It is nil
	// without one.
	Shm     *os.File
	owner   ids.Pair    // the container's root
	umask   uint32      // the mode bits that this process's umask takes away; learnUmask finds them out
	sockets []*listener // made by Listen, closed by Close
}

// Options are the properties of a memory file system.
type Options struct {
	Size  int64    // bytes that all its files may take
	Shm   int64    // bytes that files below ShmDir may take; 0: there is no file system for them
	Owner ids.Pair // the container's root, in IDs of this process's user namespace
}

// New makes an empty memory file system, which Close unmounts.
func New(o Options) (_ *FS, err error) {
	f := &FS{owner: o.Owner}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	if f.Dir, err = f.tmpfs(o.Size, 0o755); err != nil {
		return nil, err
	}
	if o.Shm > 0 {
		if f.Shm, err = f.tmpfs(o.Shm, 0o1777); err != nil {
			return nil, err
		}
	}
	if err = f.learnUmask("probe"); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *FS) tmpfs(size int64, mode uint32) (*os.File, error) {
	return overlay.Tmpfs(overlay.TmpfsOptions{
		Size: size, Mode: mode, UID: f.owner.UID, GID: f.owner.GID, Attr: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
	})
}

// Close closes all sockets and their connections, waits for those who serve them, and unmounts the file system.
func (f *FS) Close() {
	for _, l := range f.sockets {
		l.close()
	}
	for _, dir := range []*os.File{f.Dir, f.Shm} {
		if dir != nil {
			dir.Close()
		}
	}
}

// learnUmask finds this process's umask from the mode of the new directory probe: the system call would have to change
// it.
func (f *FS) learnUmask(probe string) error {
	var st unix.Stat_t
	fd := int(f.Dir.Fd())
	if err := unix.Mkdirat(fd, probe, 0o777); err != nil {
		return fmt.Errorf("make %s for the step: %w", probe, err)
	}
	if err := unix.Fstatat(fd, probe, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("look at %s for the step: %w", probe, err)
	}
	f.umask = 0o777 &^ st.Mode
	return unix.Unlinkat(fd, probe, unix.AT_REMOVEDIR)
}

// PlaceOf gives the mount that holds the file name, and the file's name in it: Shm for files below ShmDir, Dir for all
// others.
func (f *FS) PlaceOf(name string) (*os.File, string) {
	if below, ok := strings.CutPrefix(name, ShmDir+"/"); ok && f.Shm != nil {
		return f.Shm, below
	}
	return f.Dir, name
}

// Mkdir makes a directory with exactly this mode.
func (f *FS) Mkdir(name string, mode uint32) error {
	dir, below := f.PlaceOf(name)
	if err := unix.Mkdirat(int(dir.Fd()), below, mode); err != nil {
		return fmt.Errorf("make %s for the step: %w", name, err)
	}
	return f.GiveTo(name, f.owner, mode)
}

// Parents makes the directories above name that are missing, below dir, which exists.
func (f *FS) Parents(dir, name string) error {
	elements := strings.Split(name, "/")
	for _, element := range elements[:len(elements)-1] {
		dir += "/" + element
		if mode, err := inroot.ModeOf(f.PlaceOf(dir)); err == nil && mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		if err := f.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Write makes a file with exactly this mode.
func (f *FS) Write(name string, data []byte, mode uint32) error {
	dir, below := f.PlaceOf(name)
	fd, err := unix.Openat(int(dir.Fd()), below, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, mode)
	if err != nil {
		return fmt.Errorf("make %s for the step: %w", name, err)
	}
	file := os.NewFile(uintptr(fd), name)
	if len(data) > 0 {
		if _, err := file.Write(data); err != nil {
			return errors.Join(fmt.Errorf("write %s for the step: %w", name, err), file.Close())
		}
	}
	if err := file.Close(); err != nil {
		return err
	}
	return f.GiveTo(name, f.owner, mode)
}

// GiveTo makes owner, in IDs of this process's user namespace, the owner of a file, and sets its mode whatever the
// umask is.
func (f *FS) GiveTo(name string, owner ids.Pair, mode uint32) error {
	if owner != (ids.Pair{}) {
		dir, below := f.PlaceOf(name)
		if err := unix.Fchownat(int(dir.Fd()), below, int(owner.UID), int(owner.GID), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("give %s to the step: %w", name, err)
		}
	}
	if mode&(f.umask|0o7000) == 0 {
		return nil
	}
	return f.chmod(name, mode)
}

func (f *FS) chmod(name string, mode uint32) error {
	dir, below := f.PlaceOf(name)
	if err := unix.Fchmodat(int(dir.Fd()), below, mode, 0); err != nil {
		return fmt.Errorf("set mode of %s for the step: %w", name, err)
	}
	return nil
}
