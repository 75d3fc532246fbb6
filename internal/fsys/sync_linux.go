package fsys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SyncFS writes all of the file system that dir is on to its disk, with what others have written there. It tells of all
// errors since dir was opened.
func SyncFS(dir *os.File) error {
	if err := Retry0(func() error { return unix.Syncfs(int(dir.Fd())) }); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir.Name(), Err: err}
	}
	return nil
}

// SyncFSAt is SyncFS for a path. Where a file system can't be asked, nothing is done.
func SyncFSAt(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	err = SyncFS(dir)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		err = nil
	}
	return errors.Join(err, dir.Close())
}
