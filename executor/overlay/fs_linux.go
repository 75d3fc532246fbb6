package overlay

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// filesystem is a file system being configured.
type filesystem struct {
	fd   int    // what fsopen(2) or fspick(2) gave; close closes it
	name string // the type: "overlay", "tmpfs"
	err  error  // the first error of set, which mount returns
}

func openFS(name string) (*filesystem, error) {
	fd, err := unix.Fsopen(name, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open file system %s: %w", name, err)
	}
	return &filesystem{fd: fd, name: name}, nil
}

func (f *filesystem) close() { _ = unix.Close(f.fd) }

// set gives an option a value, or sets a flag if the value is empty.
func (f *filesystem) set(key, value string) {
	if f.err != nil {
		return
	}
	var err error
	if value == "" {
		err = unix.FsconfigSetFlag(f.fd, key)
	} else {
		err = unix.FsconfigSetString(f.fd, key, value)
	}
	if err != nil {
		f.err = f.fail("set "+key, err)
	}
}

// mount makes the file system and a detached mount of it with the attributes.
func (f *filesystem) mount(attr int) (*os.File, error) {
	if f.err != nil {
		return nil, f.err
	}
	if err := unix.FsconfigCreate(f.fd); err != nil {
		return nil, f.fail("create", err)
	}
	fd, err := unix.Fsmount(f.fd, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return nil, f.fail("mount", err)
	}
	return os.NewFile(uintptr(fd), f.name), nil
}

func (f *filesystem) fail(doing string, err error) error {
	if log := f.log(); log != "" {
		return fmt.Errorf("mount %s: %s: %w (%s)", f.name, doing, err, log)
	}
	return fmt.Errorf("mount %s: %s: %w", f.name, doing, err)
}

// log reads what the kernel has to say about the last error.
func (f *filesystem) log() string {
	var lines []string
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(f.fd, buf)
		if err != nil || n <= 0 {
			break
		}
		_, text, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
		lines = append(lines, text)
	}
	return strings.Join(lines, "; ")
}

// TmpfsOptions describes a memory file system. UID and GID own its root, in the IDs of the caller's user namespace.
type TmpfsOptions struct {
	Size     int64  // bytes, 0 is the kernel's default of half of the memory
	Mode     uint32 // permission bits of its root
	UID, GID uint32
	Attr     int // MOUNT_ATTR_*
}

// Tmpfs makes a detached memory file system. Close unmounts it.
func Tmpfs(o TmpfsOptions) (*os.File, error) {
	fs, err := openFS("tmpfs")
	if err != nil {
		return nil, err
	}
	defer fs.close()
	fs.set("mode", strconv.FormatUint(uint64(o.Mode), 8))
	if o.Size > 0 {
		fs.set("size", strconv.FormatInt(o.Size, 10))
	}
	if o.UID != 0 || o.GID != 0 {
		fs.set("uid", strconv.FormatUint(uint64(o.UID), 10))
		fs.set("gid", strconv.FormatUint(uint64(o.GID), 10))
	}
	return fs.mount(o.Attr)
}

// Devpts makes a detached instance of the pseudo-terminal file system. Its terminals belong to the group ttyGID if that
// ID exists here.
func Devpts(ttyGID uint32) (*os.File, error) {
	f, err := devpts(strconv.FormatUint(uint64(ttyGID), 10))
	if errors.Is(err, unix.EINVAL) {
		return devpts("")
	}
	return f, err
}

func devpts(gid string) (*os.File, error) {
	fs, err := openFS("devpts")
	if err != nil {
		return nil, err
	}
	defer fs.close()
	fs.set("newinstance", "")
	fs.set("ptmxmode", "0666")
	fs.set("mode", "0620")
	if gid != "" {
		fs.set("gid", gid)
	}
	return fs.mount(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC)
}

// BindOptions says how a bind mount differs from its source.
type BindOptions struct {
	Attr   int      // MOUNT_ATTR_* to set
	UserNS *os.File // shows owners through the map of this user namespace; nil: as they are
}

// Bind makes a detached mount of the directory or file src and returns an O_PATH descriptor of it; Close unmounts it.
// Mounts below src are shown only if they must be: when the source was mounted by another user namespace, what they
// hide stays hidden.
func Bind(src *os.File, o BindOptions) (*os.File, error) {
	fd, err := cloneTree(int(src.Fd()))
	if err != nil {
		return nil, fmt.Errorf("bind %s: %w", src.Name(), err)
	}
	f := os.NewFile(uintptr(fd), src.Name())
	if o.Attr != 0 {
		if err := setAttr(fd, &unix.MountAttr{Attr_set: uint64(o.Attr)}, unix.AT_RECURSIVE); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("bind %s: set attributes: %w", src.Name(), err)
		}
	}
	if o.UserNS != nil {
		if err := mapOwners(fd, o.UserNS); err != nil {
			_ = f.Close()
			return nil, fmt.Errorf("bind %s: %w", src.Name(), err)
		}
	}
	return f, nil
}

// ClonesDetached tells whether the kernel makes detached mounts of what is in other detached mounts (since Linux 6.15).
// If not, Bind has no use for what Program.Mount makes.
func ClonesDetached() bool {
	from, err := Tmpfs(TmpfsOptions{Mode: 0o700})
	if err != nil {
		return false
	}
	defer from.Close()
	fd, err := cloneTree(int(from.Fd()))
	if err == nil {
		_ = unix.Close(fd)
	}
	return err == nil
}

// cloneTree makes a detached mount of the tree at fd.
func cloneTree(fd int) (int, error) {
	const flags = unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC | unix.AT_EMPTY_PATH
	clone, err := unix.OpenTree(fd, "", flags)
	if errors.Is(err, unix.EINVAL) { // mounts below it are locked to it
		return unix.OpenTree(fd, "", flags|unix.AT_RECURSIVE)
	}
	return clone, err
}

func setAttr(fd int, attr *unix.MountAttr, flags uint) error {
	return unix.MountSetattr(fd, "", flags|unix.AT_EMPTY_PATH, attr)
}
