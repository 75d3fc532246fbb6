package source

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// ErrNotRegular means that a regular file is needed and the name is another kind of file. It may have been a regular
// file a moment ago: a tree may change while it is read.
var ErrNotRegular = errors.New("not a regular file")

// Context is an opened directory that files are copied from.
type Context struct {
	root   *os.File
	ignore *Ignore
}

// OpenDir opens a directory of the host; ignore may be nil. Only here the kernel resolves a path with its symlinks: the
// user wrote this path, and not the author of a build context.
func OpenDir(path string, ignore *Ignore) (*Context, error) {
	fd, err := fsys.Retry(func() (int, error) {
		return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("open context: %w", &fs.PathError{Op: "open", Path: path, Err: err})
	}
	return &Context{root: os.NewFile(uintptr(fd), path), ignore: ignore}, nil
}

// Root is the open directory; it belongs to the Context.
func (c *Context) Root() *os.File { return c.root }

// Ignore is the ignore file that OpenDir was given; nil is a valid Filter that hides nothing.
func (c *Context) Ignore() *Ignore { return c.ignore }

// Open opens a regular file for reading, following symlinks inside the context only. It opens also files that the
// ignore file hides.
func (c *Context) Open(name string) (*os.File, error) { return OpenIn(c.root, name) }

// Close closes the directory.
func (c *Context) Close() error { return c.root.Close() }

// OpenIn opens a regular file below root for reading, following symlinks inside root only. Errors are *fs.PathError
// with the path below root; what isn't a regular file is ErrNotRegular.
func OpenIn(root *os.File, name string) (*os.File, error) {
	fail := func(err error) error {
		return &fs.PathError{Op: "open", Path: "/" + strings.TrimLeft(name, "/"), Err: err}
	}
	t, err := followFDs(root, name, nil)
	defer t.close()
	switch {
	case err != nil:
		return nil, fail(err)
	case len(t.Rest) == 0:
		return nil, fail(unix.EISDIR)
	case t.Kind == Missing:
		return nil, fail(unix.ENOENT)
	}
	fd, err := OpenRegular(t.Last().fd, t.Rest[0], nil)
	if err != nil {
		return nil, fail(err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// OpenRegular opens the regular file name in the directory dir for reading, and stores its attributes in st unless st
// is nil. It follows no symlink, doesn't wait for a FIFO's writer, and gives ErrNotRegular for every other kind of
// file.
func OpenRegular(dir int, name string, st *unix.Stat_t) (int, error) {
	fd, err := fsys.Retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	})
	switch {
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		// The name is a symlink or a socket.
		return -1, ErrNotRegular
	case err != nil:
		return -1, err
	}
	var own unix.Stat_t
	if st == nil {
		st = &own
	}
	if err := unix.Fstat(fd, st); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		return -1, ErrNotRegular
	}
	return fd, nil
}

// OpenDirectory opens the directory name in dir so that it can be listed. It follows no symlink.
func OpenDirectory(dir int, name string) (int, error) {
	return fsys.Retry(func() (int, error) {
		return unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
}

// fdNode is a directory that a path leads through.
type fdNode struct {
	fd  int
	own bool  // the trail opened fd and closes it; the root's belongs to the caller
	at  scope // the filter's scope at the directory
}

func (n fdNode) drop() {
	if n.own {
		_ = unix.Close(n.fd)
	}
}

// fdTrail is a path resolved below an open directory.
type fdTrail struct {
	Trail[fdNode]
	// hidden is the path of the name that the filter hides and at which the trail ends; empty if none is hidden.
	hidden string
}

func (t *fdTrail) close() {
	for _, n := range t.Dirs {
		n.drop()
	}
	t.Dirs = nil
}

// scope gives the filter's scope at the deepest directory.
func (t *fdTrail) scope() scope { return t.Last().at }

// followFDs resolves path below root. Names that the filter hides count as missing, also those of symlinks.
func followFDs(root *os.File, path string, filter Filter) (*fdTrail, error) {
	t := &fdTrail{}
	find := func(dir fdNode, at []string, name string) (Found[fdNode], error) {
		rel := strings.Join(append(at[:len(at):len(at)], name), "/")
		found, err := lookFD(dir, rel, name)
		if errors.Is(err, errHidden) {
			t.hidden = rel
			return Found[fdNode]{}, nil
		}
		return found, err
	}
	trail, err := Follow(fdNode{fd: int(root.Fd()), at: newScope(filter)}, path, find, fdNode.drop)
	t.Trail = trail
	return t, err
}

// errHidden means that a name exists but the filter hides it.
var errHidden = errors.New("excluded")

// lookFD looks name up in dir; rel is its path.
func lookFD(dir fdNode, rel, name string) (Found[fdNode], error) {
	var none Found[fdNode]
	st, err := fsys.LstatAt(dir.fd, name)
	if errors.Is(err, unix.ENOENT) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("/%s: %w", rel, err)
	}

	kind := st.Mode & unix.S_IFMT
	v := dir.at.judge(rel, kind == unix.S_IFDIR)
	if v.hidden {
		return none, errHidden
	}

	switch kind {
	case unix.S_IFDIR:
		fd, err := fsys.Retry(func() (int, error) {
			return unix.Openat(dir.fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		})
		if err != nil {
			return none, fmt.Errorf("/%s: %w", rel, err)
		}
		return Found[fdNode]{Kind: Directory, Dir: fdNode{fd: fd, own: true, at: v.below}}, nil
	case unix.S_IFLNK:
		target, err := fsys.ReadLinkAt(dir.fd, name)
		if err != nil {
			return none, fmt.Errorf("/%s: %w", rel, err)
		}
		return Found[fdNode]{Kind: Link, Target: target}, nil
	default:
		return Found[fdNode]{Kind: Other}, nil
	}
}
