package store

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// inheritNothing removes the default access control list from the directories that layers and copies are made in. They
// may have inherited one from a directory above the store; every file of an image would inherit it in turn, with IDs of
// this machine.
func (s *Store) inheritNothing() error {
	driver := filepath.Join(s.library.GraphRoot(), s.Driver())
	dirs := []string{driver, filepath.Join(driver, "dir"), s.paths.Own}
	below, err := fsys.Subdirs(s.paths.Own)
	if err != nil {
		return err
	}
	for _, name := range below {
		dirs = append(dirs, filepath.Join(s.paths.Own, name))
	}
	for _, dir := range dirs {
		err := unix.Lremovexattr(dir, "system.posix_acl_default")
		// A directory may have no list or not exist, and its file system may not support them.
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTSUP) &&
			!errors.Is(err, unix.EROFS) {
			return fmt.Errorf("remove default access control list of %s: %w", dir, err)
		}
	}
	return labelAsDriver(filepath.Join(s.paths.Own, "tmp"), driver)
}

// labelAsDriver gives tmp, in which layers are made, the SELinux label of the driver's directory. Files that are made
// there inherit the label, and keep it when they are renamed into the driver's directory.
func labelAsDriver(tmp, driver string) error {
	const label = "security.selinux"
	var theirs, ours [256]byte
	n, err := unix.Lgetxattr(driver, label, theirs[:])
	if err != nil { // the kernel, or the file system, has no labels
		return nil //nolint:nilerr // without labels there is nothing to do
	}
	if m, err := unix.Lgetxattr(tmp, label, ours[:]); err == nil && bytes.Equal(ours[:m], theirs[:n]) {
		return nil
	}
	// The policy may forbid the change, which isn't needed if the system was relabelled.
	if err := unix.Lsetxattr(tmp, label, theirs[:n], 0); err != nil && !errors.Is(err, unix.EPERM) &&
		!errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("label %s: %w", tmp, err)
	}
	return nil
}
