package owners

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// batchSize is how many files one goroutine copies at a time.
const batchSize = 64

// Copy makes dst, an empty directory, a copy of src in which ids has translated the owner of every file. The
// copy has all the rest of src: hard links, set-ID bits, capabilities and access control lists (the IDs in them are
// translated too), other extended attributes including overlay's own, whiteouts, holes and times. Data is shared with
// src where the file system can. Nothing may write to src meanwhile. After an error dst holds a part of the copy, which
// the caller removes.
func Copy(ctx context.Context, dst, src string, ids Translation) (err error) {
	c := &copier{ids: ids, links: map[tree.FileID]string{}, buf: make([]byte, 64<<10), data: fsys.Copier{ShareSmall: true}}
	if c.src, err = tree.Open(src); err != nil {
		return err
	}
	defer c.src.Close()
	if c.dst, err = tree.Open(dst); err != nil {
		return err
	}
	defer c.dst.Close()
	var st unix.Stat_t
	if err := unix.Fstat(c.src.FD(), &st); err != nil {
		return fmt.Errorf("stat %q: %w", src, err)
	}
	c.group, ctx = errgroup.WithContext(ctx)
	c.group.SetLimit(2 * runtime.GOMAXPROCS(0))
	// A batch that fails cancels the walk, whose error then only tells of that; so the group's error is the one to return.
	walkErr := c.dir(ctx, &st)
	if err := c.group.Wait(); err != nil {
		return err
	}
	return walkErr
}

// copier walks the directories and makes them in the copy; goroutines of group copy the files, in batches.
type copier struct {
	src, dst *tree.Dirs
	ids      Translation
	group    *errgroup.Group
	path     []byte
	xattrs   tree.Xattrs
	buf      []byte
	data     fsys.Copier

	mu    sync.Mutex             // held while a file with several names is copied
	links map[tree.FileID]string // path in the copy of each file with several names, by its ID in src; guarded by mu
}

func (c *copier) dir(ctx context.Context, st *unix.Stat_t) error {
	names, err := tree.Names(c.src.FD(), c.buf)
	if err != nil {
		return fmt.Errorf("list %q: %w", "/"+string(c.path), err)
	}

	var files, below []string
	for _, n := range names {
		isDir := n.Type == unix.DT_DIR
		if n.Type == unix.DT_UNKNOWN {
			var st unix.Stat_t
			if err := unix.Fstatat(c.src.FD(), n.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				return fmt.Errorf("stat %q: %w", c.full(n.Name), err)
			}
			isDir = st.Mode&unix.S_IFMT == unix.S_IFDIR
		}
		if isDir {
			below = append(below, n.Name)
		} else {
			files = append(files, n.Name)
		}
	}

	var batches sync.WaitGroup
	err = c.start(ctx, &batches, files)
	for _, name := range below {
		if err == nil {
			err = c.subdir(ctx, name)
		}
	}

	batches.Wait()
	if err != nil {
		return err
	}

	// Attributes and times come last, since each name that is added changes the directory's times.
	if err := c.ids.copyAttrs(&c.xattrs, tree.Node{FD: c.src.FD()}, tree.Node{FD: c.dst.FD()}, st); err != nil {
		return fmt.Errorf("shift owner of %q: %w", "/"+string(c.path), err)
	}
	return nil
}

func (c *copier) subdir(ctx context.Context, name string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := unix.Mkdirat(c.dst.FD(), name, 0o700); err != nil {
		return fmt.Errorf("make directory %q: %w", c.full(name), err)
	}
	var st unix.Stat_t
	if err := c.dst.Push(name, &st); err != nil {
		return fmt.Errorf("open %q: %w", c.full(name), err)
	}
	if err := c.src.Push(name, &st); err != nil {
		return fmt.Errorf("open %q: %w", c.full(name), err)
	}
	parent := len(c.path)
	c.path = append(append(c.path, name...), '/')
	if err := c.dir(ctx, &st); err != nil {
		return err
	}
	c.path = c.path[:parent]
	return errors.Join(c.src.Pop(), c.dst.Pop())
}

func (c *copier) full(name string) string { return "/" + string(c.path) + name }

// start starts goroutines that copy the files of the directory being visited, a batch each. batches counts those of
// this directory.
func (c *copier) start(ctx context.Context, batches *sync.WaitGroup, files []string) error {
	for len(files) > 0 {
		n := min(batchSize, len(files))
		b := &batch{c: c, names: files[:n], path: string(c.path)}
		files = files[n:]
		var err error
		if b.src, err = dup(c.src.FD()); err != nil {
			return err
		}
		if b.dst, err = dup(c.dst.FD()); err != nil {
			return errors.Join(err, unix.Close(b.src))
		}
		batches.Add(1)
		c.group.Go(func() error {
			defer batches.Done()
			return errors.Join(guard.Call(func() error { return b.run(ctx) }), unix.Close(b.src), unix.Close(b.dst))
		})
	}
	return nil
}

func dup(fd int) (int, error) { return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0) }

// batch is a set of files of one directory, which one goroutine copies.
type batch struct {
	c        *copier
	src, dst int
	path     string   // path of the directory, relative to the root, with a trailing slash
	names    []string // names of the files in the directory
	xattrs   tree.Xattrs
}

func (b *batch) run(ctx context.Context) error {
	for _, name := range b.names {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		var st unix.Stat_t
		err := unix.Fstatat(b.src, name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			if st.Nlink > 1 {
				err = b.linked(ctx, name, &st)
			} else {
				err = b.make(ctx, name, &st)
			}
		}
		if err != nil {
			return fmt.Errorf("shift owner of %q: %w", "/"+b.path+name, err)
		}
	}
	return nil
}

// linked makes one name of a file that has several: a link to the copy made for another name, or else the copy.
func (b *batch) linked(ctx context.Context, name string, st *unix.Stat_t) error {
	b.c.mu.Lock()
	defer b.c.mu.Unlock()
	first, ok := b.c.links[tree.ID(st)]
	if !ok {
		b.c.links[tree.ID(st)] = b.path + name
		return b.make(ctx, name, st)
	}
	dir, base, err := openParent(b.c.dst.Root(), first)
	if err != nil {
		return err
	}
	return errors.Join(unix.Linkat(dir, base, b.dst, name, 0), unix.Close(dir))
}

// openParent opens the directory that path, relative to root, lies in, however long the path is.
func openParent(root int, path string) (dir int, base string, err error) {
	if dir, err = dup(root); err != nil {
		return -1, "", err
	}
	for {
		first, below, more := strings.Cut(path, "/")
		if !more {
			return dir, path, nil
		}
		next, err := fsys.OpenAt(dir, first, tree.DirFlags)
		if err = errors.Join(err, unix.Close(dir)); err != nil {
			return -1, "", err
		}
		dir, path = next, below
	}
}

func (b *batch) make(ctx context.Context, name string, st *unix.Stat_t) (err error) {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return b.file(ctx, name, st)
	case unix.S_IFLNK:
		var target string
		if target, err = fsys.ReadLinkAt(b.src, name); err == nil {
			err = unix.Symlinkat(target, b.dst, name)
		}
	default:
		err = unix.Mknodat(b.dst, name, st.Mode, int(st.Rdev))
	}
	if err != nil || isWhiteout(st) {
		return err
	}
	made, err := tree.OpenNode(b.dst, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(made.FD)) }()
	return b.c.ids.copyAttrs(&b.xattrs, tree.Node{FD: b.src, Name: name}, made, st)
}

func (b *batch) file(ctx context.Context, name string, st *unix.Stat_t) (err error) {
	in, err := fsys.OpenAt(b.src, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(in)) }()
	out, err := unix.Openat(b.dst, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Close(out)) }()
	n, err := b.c.data.Copy(ctx, out, in, st)
	if err != nil {
		return err
	}
	if n != st.Size {
		return tree.ErrChanged
	}
	if isMark(name, st) {
		return nil
	}
	return b.c.ids.copyAttrs(&b.xattrs, tree.Node{FD: in}, tree.Node{FD: out}, st)
}

// copyAttrs gives a copy the shifted owner, the mode, the shifted attributes and the times of its original.
func (ids Translation) copyAttrs(x *tree.Xattrs, from, to tree.Node, st *unix.Stat_t) error {
	uid, gid, err := ids.owner(st)
	if err != nil {
		return err
	}
	if err := to.Chown(uid, gid); err != nil { // first: it clears set-ID bits and file capabilities
		return fmt.Errorf("change owner: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := to.Chmod(st.Mode & tree.PermMask); err != nil {
			return fmt.Errorf("change mode: %w", err)
		}
	}

	var names []string
	if err := x.Names(from, func(name string) error { names = append(names, name); return nil }); err != nil {
		return err
	}

	for _, name := range names {
		value, ok, err := x.Value(from, name)
		if err == nil && ok {
			value, err = ids.attr(name, value)
		}
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if err := to.Set(name, value); err != nil && !isMachines(name) {
			return fmt.Errorf("set extended attribute %q: %w", name, err)
		}
	}

	if err := to.SetTimes(st.Atim, st.Mtim); err != nil {
		return fmt.Errorf("change times: %w", err)
	}
	return nil
}

// isMachines tells whether an attribute belongs to the machine rather than to the layer, as labels of a security module
// do.
func isMachines(name string) bool {
	foreign := strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "system.")
	return foreign && !hasIDs(name)
}
