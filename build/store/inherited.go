package store

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// inheritNothing takes the default access control list away from the directories that layers and copies are made in. One of a directory
// above the store would be in every file of an image, with IDs that mean something on this machine only.
func (s *Store) inheritNothing() error {
	driver := filepath.Join(s.store.GraphRoot(), s.Driver())
	dirs := []string{driver, filepath.Join(driver, "dir"), s.dir}
	below, err := realDirs(s.dir)
	if err != nil {
		return err
	}
	for _, name := range below {
		dirs = append(dirs, filepath.Join(s.dir, name))
	}
	for _, dir := range dirs {
		err := unix.Lremovexattr(dir, "system.posix_acl_default")
		// Some have none, some are not there, and a file system may know none.
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EROFS) {
			return fmt.Errorf("remove default access control list of %s: %w", dir, err)
		}
	}
	return nil
}
