package container

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/ids"
	"github.com/cooperbuild/cooper/executor/internal/memfs"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// TtyGroup is the ID of the group tty, to which terminals belong in all distributions.
const TtyGroup = 5

// Kernel holds the kernel's file systems that the step gets, save for those of the child's own namespaces.
type Kernel struct {
	Sys     *os.File // detached mount of the caller's /sys
	Pts     *os.File // detached mount of a new devpts for /dev/pts
	Devices []string // names in /dev of the caller's device nodes that the step gets

	// ShowsGroup is set if the step may see its control group, because it sees no other one there.
	ShowsGroup bool
}

// openKernel makes the mounts for a step in this user namespace. writable is for a step that may change what is in
// /sys.
func openKernel(namespace *ids.Namespace, writable bool) (_ *Kernel, err error) {
	k := &Kernel{
		Devices: slices.DeleteFunc(memfs.DeviceNodes(), func(name string) bool { return !Exists("dev/" + name) }),

		ShowsGroup: controlGroupIsAlone(),
	}
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	sys, err := os.OpenFile("/sys", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer sys.Close()
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if !writable {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	if k.Sys, err = overlay.Bind(sys, overlay.BindOptions{Attr: attr}); err != nil {
		return nil, err
	}
	tty := uint32(TtyGroup)
	if m := namespace.Own(); m != nil {
		if tty, err = m.GIDs.ToHost(TtyGroup); err != nil {
			tty = namespace.Root().GID
		}
	}
	if k.Pts, err = overlay.Devpts(tty); err != nil {
		return nil, err
	}
	return k, nil
}

// Close unmounts what the child hasn't attached.
func (k *Kernel) Close() {
	for _, f := range []*os.File{k.Sys, k.Pts} {
		if f != nil {
			f.Close()
		}
	}
}

// Exists says that this machine has something at a path, which is relative to the caller's root.
func Exists(name string) bool {
	var st unix.Stat_t
	return unix.Lstat("/"+name, &st) == nil
}
