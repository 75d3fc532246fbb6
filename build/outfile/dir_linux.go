package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dir is a directory that is there or is to be, with a temporary one in it or beside it, on the same file system. It is
// not safe for concurrent use.
type Dir struct {
	path string
	spot *spot
	temp *os.File
	name string
}

// OpenDir finds the directory path, which need not be there; parents has those above it made. The temporary directory
// gets 0777 less the umask. The caller calls Close.
func OpenDir(path string, parents bool) (*Dir, error) {
	s, err := find(path, parents)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	d := &Dir{path: path, spot: s}
	if s.at != nil && s.kind() != unix.S_IFDIR {
		s.close()
		return nil, fmt.Errorf("create %s: %w: there is a file", path, syscall.ENOTDIR)
	}
	sweep(s.dir)
	if d.temp, d.name, err = makeDir(s.dir); err != nil {
		s.close()
		return nil, fmt.Errorf("create a directory for %s: %w", path, cause(err))
	}
	return d, nil
}

// There says that the directory was there already, and holds the temporary one.
func (d *Dir) There() bool { return d.spot.at != nil }

// Path is the directory that is there, whatever becomes of its name until Close; it is for system calls and not for
// people.
func (d *Dir) Path() string { return procPath(d.spot.dir) }

// Temp is the temporary directory in the same way, and TempName its name in Path.
func (d *Dir) Temp() string { return procPath(d.temp) }

// TempName is the temporary directory's name in Path.
func (d *Dir) TempName() string { return d.name }

// Commit makes the temporary directory the one that wasn't there. The error is fs.ErrExist if somebody else has made
// one.
func (d *Dir) Commit() error {
	at := int(d.spot.dir.Fd())
	err := unix.Renameat(at, d.name, at, d.spot.base)
	if errors.Is(err, unix.ENOTEMPTY) {
		err = fs.ErrExist
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", d.path, err)
	}
	d.name = ""
	syncDir(d.spot.dir)
	return nil
}

// Close removes the temporary directory, if it hasn't become the other.
func (d *Dir) Close() {
	if d.name != "" {
		if root, err := os.OpenRoot(procPath(d.spot.dir)); err == nil {
			_ = root.RemoveAll(d.name)
			_ = root.Close()
		}
	}
	_ = d.temp.Close()
	d.spot.close()
}

// MakeDir makes the directory path, for its owner only, and those above it, unless it is there, and opens it as a path
// only.
func MakeDir(path string) (*os.File, error) {
	s, err := find(path, true)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, cause(err))
	}
	defer s.close()
	if s.at == nil {
		err = unix.Mkdirat(int(s.dir.Fd()), s.base, 0o700)
	}
	var dir *os.File
	if err == nil || errors.Is(err, unix.EEXIST) {
		dir, err = openPath(int(s.dir.Fd()), s.base, unix.O_DIRECTORY|unix.O_NOFOLLOW)
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return dir, nil
}
