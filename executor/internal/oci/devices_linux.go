package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/userns"
)

// mostDevices is how many device nodes an image may have that are hidden from a step.
const mostDevices = 4096

var errManyDevices = errors.New("the image has too many device nodes for a step whose root is the machine's: " +
	"run it natively, without --isolation=oci and --runtime, or give root subordinate IDs in /etc/subuid and /etc/subgid")

// isMachineRoot tells whether the step's root is the machine's.
func (o *BackEnd) isMachineRoot() bool {
	m, err := o.c.IDs.Mapping()
	return err != nil || userns.InInitial(m)
}

// caps gives the capabilities of the step. Where its root is the machine's, it may make no device nodes: crun's root,
// and every runtime's /dev, are mounts on which nodes are devices, and no runtime that may not write to control groups
// can say which.
func (o *BackEnd) caps() step.Caps {
	security := o.c.Step.Security
	caps := security.Set() & o.c.IDs.Permitted()
	if !security.Insecure && o.isMachineRoot() {
		caps &^= 1 << unix.CAP_MKNOD
	}
	return caps
}

// findDevices gives the paths of device nodes in the image of a step that caps keeps from making them: they are to be
// hidden. Whiteouts of overlay file systems are none.
func (o *BackEnd) findDevices() (paths []string, err error) {
	if o.c.Step.Security.Insecure || !o.isMachineRoot() {
		return nil, nil
	}
	root := o.c.Step.Rootfs
	for _, dir := range append(slices.Clone(root.Lower), root.Upper, root.Dir) {
		if dir == nil {
			continue
		}
		found, err := devicesBelow(dir)
		if err != nil {
			return nil, fmt.Errorf("look for device nodes: %w", err)
		}
		if paths = append(paths, found...); len(paths) > mostDevices {
			return nil, errManyDevices
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths), nil
}

func devicesBelow(dir *os.File) (paths []string, err error) {
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Type()&fs.ModeDevice == 0 || len(paths) > mostDevices {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(int(dir.Fd()), path, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if st.Rdev != 0 {
			paths = append(paths, "/"+path)
		}
		return nil
	})
	return paths, err
}
