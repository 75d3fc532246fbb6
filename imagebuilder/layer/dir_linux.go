package layer

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
	dirFlags    = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// dirs is the path from a root directory down to the directory being visited, one level for each component. Only the
// root and the lowest levels are open; a walk that goes up further opens the parent again and checks that it is still
// the same directory.
type dirs struct{ levels []dirLevel }

type dirLevel struct {
	fd int // descriptor of the directory; -1: closed to keep within maxOpenDirs
	id fileID
}

// fileID identifies a file by device and inode number.
type fileID struct{ dev, ino uint64 }

func idOf(st *unix.Stat_t) fileID {
	return fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // 32 bits on some architectures
}

// openDirs opens a root directory. Symbolic links in path are followed: unlike the names below it, path comes from the
// caller.
func openDirs(path string) (*dirs, error) {
	fd, err := fsys.OpenAt(unix.AT_FDCWD, path, dirFlags&^unix.O_NOFOLLOW)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", path, err)
	}
	return &dirs{levels: []dirLevel{{fd: fd}}}, nil
}

// fd is the descriptor of the directory being visited.
func (d *dirs) fd() int { return d.levels[len(d.levels)-1].fd }

// root is the descriptor of the directory that the walk began with.
func (d *dirs) root() int { return d.levels[0].fd }

// push descends into the child of the given name and describes it in st.
func (d *dirs) push(name string, st *unix.Stat_t) error {
	fd, err := fsys.OpenAt(d.fd(), name, dirFlags)
	if err != nil {
		return err
	}
	if err := unix.Fstat(fd, st); err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	d.levels = append(d.levels, dirLevel{fd: fd, id: idOf(st)})
	if i := len(d.levels) - maxOpenDirs; i > 0 {
		err = unix.Close(d.levels[i].fd)
		d.levels[i].fd = -1
	}
	return err
}

// pop returns to the parent.
func (d *dirs) pop() error {
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
	fd, err := fsys.OpenAt(child, "..", dirFlags)
	if err != nil {
		return err
	}
	l.fd = fd
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if idOf(&st) != l.id {
		return fmt.Errorf("directory moved: %w", ErrChanged)
	}
	return nil
}

func (d *dirs) close() {
	for _, l := range d.levels {
		if l.fd >= 0 {
			_ = unix.Close(l.fd) // opened for reading: nothing can be lost
		}
	}
	d.levels = nil
}

// readNames lists a directory in byte order. buf is scratch memory.
func readNames(fd int, buf []byte) ([]fsys.Dirent, error) {
	names, err := fsys.Dirents(fd, buf)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(names, func(a, b fsys.Dirent) int { return strings.Compare(a.Name, b.Name) })
	return names, nil
}
