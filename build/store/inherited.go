package store

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// inheritNothing takes the default access control list away from the directories that layers and copies are made in.
// One of a directory above the store would be in every file of an image, with IDs that mean something on this machine
// only.
func (s *Store) inheritNothing() error {
	driver := filepath.Join(s.store.GraphRoot(), s.Driver())
	dirs := []string{driver, filepath.Join(driver, "dir"), s.dir}
	below, err := fsys.Subdirs(s.dir)
	if err != nil {
		return err
	}
	for _, name := range below {
		dirs = append(dirs, filepath.Join(s.dir, name))
	}
	for _, dir := range dirs {
		err := unix.Lremovexattr(dir, "system.posix_acl_default")
		// Some have none, some are not there, and a file system may know none.
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTSUP) &&
			!errors.Is(err, unix.EROFS) {
			return fmt.Errorf("remove default access control list of %s: %w", dir, err)
		}
	}
	return s.labelAsDriver(driver)
}

// labelAsDriver gives the directory that layers are made in the SELinux label of the driver's: what is made there
// inherits it, and takes it along into the driver's directory.
func (s *Store) labelAsDriver(driver string) error {
	const label = "security.selinux"
	var theirs, ours [256]byte
	n, err := unix.Lgetxattr(driver, label, theirs[:])
	if err != nil { // the kernel, or the file system, has no labels
		return nil //nolint:nilerr // then there is nothing to do
	}
	tmp := filepath.Join(s.dir, "tmp")
	if m, err := unix.Lgetxattr(tmp, label, ours[:]); err == nil && bytes.Equal(ours[:m], theirs[:n]) {
		return nil
	}
	// The policy may forbid it; a system that is relabelled has it right.
	if err := unix.Lsetxattr(tmp, label, theirs[:n], 0); err != nil && !errors.Is(err, unix.EPERM) &&
		!errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("label %s: %w", tmp, err)
	}
	return nil
}
