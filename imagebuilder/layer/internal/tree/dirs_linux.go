package tree

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	// maxOpenDirs is how many directories a walk keeps open at a time, however deep the tree is.
	maxOpenDirs = 64
	// DirFlags are those that a directory is opened with.
	DirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// Dirs is the path from a root directory down to the directory being visited, one level for each component. Only the
// Root and the lowest levels are open; a walk that goes up further opens the parent again and checks that it is still
// the same directory.
type Dirs struct{ levels []dirLevel }

type dirLevel struct {
	fd int // descriptor of the directory; -1: closed to keep within maxOpenDirs
	id FileID
}

// FileID identifies a file by device and inode number.
type FileID struct{ Dev, Ino uint64 }

// ID is the identity of the file that st describes.
func ID(st *unix.Stat_t) FileID {
	return FileID{uint64(st.Dev), st.Ino} //nolint:unconvert // 32 bits on some architectures
}

// Open opens a root directory. Symbolic links in path are followed: unlike the names below it, path comes from the
// caller.
func Open(path string) (*Dirs, error) {
	fd, err := fsys.OpenAt(unix.AT_FDCWD, path, DirFlags&^unix.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	return &Dirs{levels: []dirLevel{{fd: fd}}}, nil
}

// OpenPlain opens a root directory, which must not be a symbolic link.
func OpenPlain(path string) (*Dirs, error) {
	fd, err := fsys.OpenAt(unix.AT_FDCWD, path, DirFlags)
	if err != nil {
		return nil, err
	}
	return &Dirs{levels: []dirLevel{{fd: fd}}}, nil
}

// FD is the descriptor of the directory being visited.
func (d *Dirs) FD() int { return d.levels[len(d.levels)-1].fd }

// Root is the descriptor of the directory that the walk began with.
func (d *Dirs) Root() int { return d.levels[0].fd }

// Push descends into the child of the given name and describes it in st.
func (d *Dirs) Push(name string, st *unix.Stat_t) error {
	fd, err := fsys.OpenAt(d.FD(), name, DirFlags)
	if err != nil {
		return err
	}
	if err := unix.Fstat(fd, st); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	d.levels = append(d.levels, dirLevel{fd: fd, id: ID(st)})
	if i := len(d.levels) - maxOpenDirs; i > 0 {
		err = unix.Close(d.levels[i].fd)
		d.levels[i].fd = -1
	}
	return err
}

// Pop returns to the parent.
func (d *Dirs) Pop() error {
	last := len(d.levels) - 1
	child := d.levels[last].fd
	d.levels = d.levels[:last]
	parent := &d.levels[last-1]
	var err error
	if parent.fd < 0 {
		err = parent.reopen(child)
	}
	return errors.Join(err, unix.Close(child))
}

func (l *dirLevel) reopen(child int) error {
	fd, err := fsys.OpenAt(child, "..", DirFlags)
	if err != nil {
		return err
	}
	l.fd = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if ID(&st) != l.id {
		return fmt.Errorf("directory moved: %w", ErrChanged)
	}
	return nil
}

// Close closes all that is open.
func (d *Dirs) Close() {
	for _, l := range d.levels {
		if l.fd >= 0 {
			_ = unix.Close(l.fd) // opened for reading: nothing can be lost
		}
	}
	d.levels = nil
}

// Names lists a directory in byte order. buf is scratch memory.
func Names(fd int, buf []byte) ([]fsys.Dirent, error) {
	names, err := fsys.Dirents(fd, buf)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(a, b fsys.Dirent) int { return strings.Compare(a.Name, b.Name) })
	return names, nil
}
