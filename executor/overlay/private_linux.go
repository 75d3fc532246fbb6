package overlay

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/thread"
)

// mountPrivately mounts like layers.mount, but with every layer attached in a mount namespace of its own, as older
// kernels need it. The namespace belongs to a thread that ends with this call; the new mount is detached and outlives
// both.
func mountPrivately(o Options) (*os.File, error) {
	l, err := cloneLayers(o)
	defer closeAll(l.own)
	if err != nil {
		return nil, err
	}
	var f *os.File
	err = thread.OnLost(func() (err error) {
		f, err = l.mountInNewNamespace(o)
		return err
	})
	return f, err
}

func (l layers) mountInNewNamespace(o Options) (*os.File, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return nil, fmt.Errorf("unshare mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("make mounts private: %w", err)
	}
	for _, fd := range l.mounts {
		if err := attachToRoot(fd); err != nil {
			return nil, err
		}
	}
	if f, err := l.mountHere(o); err == nil {
		return f, nil
	}
	return l.mountClassic(o)
}

// attachToRoot stacks the detached mount on the root directory: it is reached by descriptor only, so that any place
// will do.
func attachToRoot(fd int) error {
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("attach layer: %w", err)
	}
	return nil
}

// mountClassic mounts with mount(2), whose option string must be shorter than a page, and detaches the mount.
func (l layers) mountClassic(o Options) (*os.File, error) {
	room, err := Tmpfs(TmpfsOptions{Mode: 0o700})
	if err != nil {
		return nil, err
	}
	defer room.Close()
	if err := attachToRoot(int(room.Fd())); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(int(room.Fd()), "m", 0o700); err != nil {
		return nil, fmt.Errorf("make mount point: %w", err)
	}

	data := l.classicOptions(o)
	if len(data) >= os.Getpagesize() {
		return nil, fmt.Errorf("mount overlay: %w: %d, this kernel takes a list of %d bytes", ErrTooManyLayers, len(l.lower),
			os.Getpagesize())
	}

	flags := uintptr(unix.MS_NODEV)
	if l.upper < 0 {
		flags |= unix.MS_RDONLY
	}
	if l.needContainerRoot(o) {
		if err := becomeContainerRoot(*o.IDMap); err != nil {
			return nil, err
		}
	}

	if err := unix.Mount("overlay", fdPath(int(room.Fd()))+"/m", "overlay", flags, data); err != nil {
		return nil, fmt.Errorf("mount overlay: %w", err)
	}
	fd, err := unix.OpenTree(int(room.Fd()), "m", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("detach overlay: %w", err)
	}

	f := os.NewFile(uintptr(fd), "overlay")
	if err := setAttr(fd, &unix.MountAttr{Attr_set: uint64(o.Attr | unix.MOUNT_ATTR_NODEV)}, 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("set attributes of overlay: %w", err)
	}

	return f, nil
}

func (l layers) classicOptions(o Options) string {
	paths := make([]string, len(l.lower))
	for i, fd := range l.lower {
		paths[i] = fdPath(fd)
	}
	list := []string{"lowerdir=" + strings.Join(paths, ":")}
	if l.upper >= 0 {
		list = append(list, "upperdir="+fdPath(l.upper), "workdir="+fdPath(l.work))
	}
	for _, opt := range o.list() {
		list = append(list, strings.TrimSuffix(opt.key+"="+opt.value, "="))
	}
	return strings.Join(list, ",")
}
