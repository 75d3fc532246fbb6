package scratch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// RemoveAll is os.RemoveAll for trees whose directories may be unreadable to their owner: overlay makes its work
// directory with mode 0.
func RemoveAll(dir string) error {
	err := os.RemoveAll(dir)
	if err == nil {
		return nil
	}
	opened := makeOpen(dir)
	if again := os.RemoveAll(dir); again != nil {
		return errors.Join(err, opened, again)
	}
	return nil
}

// makeOpen gives the owner of a tree access to all directories in it. Even if a process of a step exchanges names in
// the tree meanwhile, only directories of the tree are changed, and never the target of a link.
func makeOpen(dir string) error {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", dir, err)
	}
	defer unix.Close(root)
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
		if d == nil || !d.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		fd, err := fsys.OpenPlain(root, rel, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		defer unix.Close(fd)
		return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), 0o700)
	})
}
