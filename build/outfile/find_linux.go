package outfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// ErrForeign says that another user has put what is at a name there, to have somebody write where that user may not.
var ErrForeign = errors.New(
	"another user has put it into a directory that everyone may write to: remove it, or give another path")

const (
	// maxLinks is how many symbolic links a name may lead over, as in the kernel.
	maxLinks = 40
	// overflowID is what the kernel shows for the owner of a file that has no ID in this user namespace. Two files that
	// have it may have different owners.
	overflowID = 65534
)

// spot is where a name leads: a directory, and a name in it that is no symbolic link.
type spot struct {
	// dir is open as a path only.
	dir *os.File
	// base is "." if the name is that of dir itself.
	base string
	// at is what is there now, open as a path only, with its attributes; nil if there is nothing.
	at *os.File
	st unix.Stat_t
}

func (s *spot) close() {
	_ = s.dir.Close()
	if s.at != nil {
		_ = s.at.Close()
	}
}

func (s *spot) kind() uint32 { return s.st.Mode & unix.S_IFMT }

// procPath is a path to an open file that needs no name of it.
func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// finder follows a name.
type finder struct {
	dir   *os.File
	rest  []string
	links int
	// parents has missing directories made on the way.
	parents bool
}

// find follows path to its end, which need not be there; with parents, missing directories on the way are made.
// Errors don't name path; the caller does.
func find(path string, parents bool) (*spot, error) {
	if path == "" {
		return nil, unix.ENOENT
	}
	f := &finder{parents: parents}
	if err := f.start(path); err != nil {
		return nil, err
	}
	s, err := f.walk()
	if err != nil {
		_ = f.dir.Close()
		return nil, err
	}
	return s, nil
}

// start puts what path names before the rest, and goes to the root if path is absolute.
func (f *finder) start(path string) error {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	f.rest = append(parts, f.rest...)
	switch {
	case strings.HasPrefix(path, "/"):
		return f.enter(unix.AT_FDCWD, "/")
	case f.dir == nil:
		return f.enter(unix.AT_FDCWD, ".")
	}
	return nil
}

// enter makes a directory the one that the rest is looked for in.
func (f *finder) enter(at int, name string) error {
	fd, err := openPath(at, name, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	f.move(fd)
	return nil
}

func (f *finder) move(to *os.File) {
	if f.dir != nil {
		_ = f.dir.Close()
	}
	f.dir = to
}

func openPath(at int, name string, flags int) (*os.File, error) {
	fd, err := fsys.OpenAt(at, name, unix.O_PATH|unix.O_CLOEXEC|flags)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (f *finder) walk() (*spot, error) {
	for len(f.rest) > 0 {
		name := f.rest[0]
		f.rest = f.rest[1:]
		at, err := openPath(int(f.dir.Fd()), name, unix.O_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			if len(f.rest) == 0 {
				return &spot{dir: f.dir, base: name}, nil
			}
			if f.parents {
				err = f.make(name)
			}
			if err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		s, err := f.step(name, at)
		if s != nil || err != nil {
			return s, err
		}
	}
	s := &spot{dir: f.dir, base: ".", at: f.dir}
	return s, unix.Fstat(int(f.dir.Fd()), &s.st)
}

// make makes a directory, and has it entered next.
func (f *finder) make(name string) error {
	err := unix.Mkdirat(int(f.dir.Fd()), name, 0o777)
	if err == nil || errors.Is(err, unix.EEXIST) {
		f.rest = append([]string{name}, f.rest...)
		return nil
	}
	return err
}

// step goes over one name, which is at; a spot is the end of the way.
func (f *finder) step(name string, at *os.File) (*spot, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFDIR {
		f.move(at)
		return nil, nil
	}
	if err := f.vet(name, &st); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	switch {
	case kind == unix.S_IFLNK:
		s, err := f.follow(name, at)
		return s, errors.Join(err, at.Close())
	case len(f.rest) > 0:
		return nil, errors.Join(unix.ENOTDIR, at.Close())
	}
	return &spot{dir: f.dir, base: name, at: at, st: st}, nil
}

// vet refuses what another user has put into a directory that everyone may write to.
func (f *finder) vet(name string, st *unix.Stat_t) error {
	const everyones = unix.S_ISVTX | unix.S_IWOTH
	var dir unix.Stat_t
	if err := unix.Fstat(int(f.dir.Fd()), &dir); err != nil {
		return err
	}
	own := fsys.Mine(st) || st.Uid == dir.Uid && st.Uid != overflowID
	if dir.Mode&everyones != everyones || own {
		return nil
	}
	shown, err := os.Readlink(procPath(f.dir))
	if err != nil {
		return err
	}
	return &fs.PathError{Op: "follow", Path: filepath.Join(shown, name), Err: fmt.Errorf("%w", ErrForeign)}
}

// follow goes over a symbolic link. One of /proc, such as what /dev/stdout leads to, is no text but an open file.
func (f *finder) follow(name string, link *os.File) (*spot, error) {
	if f.links++; f.links > maxLinks {
		return nil, unix.ELOOP
	}
	var where unix.Statfs_t
	if err := unix.Fstatfs(int(f.dir.Fd()), &where); err != nil {
		return nil, err
	}
	if where.Type != unix.PROC_SUPER_MAGIC {
		to, err := fsys.ReadLinkAt(int(link.Fd()), "")
		if err != nil {
			return nil, err
		}
		return nil, f.start(to)
	}
	at, err := openPath(int(f.dir.Fd()), name, 0)
	if err != nil {
		return nil, err
	}
	s := &spot{dir: f.dir, base: name, at: at}
	if err := unix.Fstat(int(at.Fd()), &s.st); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	if s.kind() == unix.S_IFDIR {
		f.move(at)
		return nil, nil
	}
	if len(f.rest) > 0 {
		return nil, errors.Join(unix.ENOTDIR, at.Close())
	}
	return s, nil
}
