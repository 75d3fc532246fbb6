package layer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	opaqueName = ".wh..wh..opq"
	rootName   = "./"
)

// Read walks an overlay diff directory, writes its layer to the writers of o and returns the layer's description. The
// tree must not change meanwhile. Errors name the path that they are about. When Read returns, all goroutines that it
// started have ended.
func Read(ctx context.Context, dir string, o Options) (Result, error) {
	return derive(ctx, dir, o, func(ctx context.Context, r *reader) error {
		r.overlay = o.OverlayXattr
		a, err := r.root(ctx)
		if err != nil {
			return err
		}
		if a.Opaque {
			if err := r.mark(ctx, opaqueName); err != nil {
				return err
			}
		}
		return r.children(ctx)
	})
}

// derive opens the directory, calls walk to put its entries into a stream, and returns the stream's description.
func derive(ctx context.Context, dir string, o Options, walk func(context.Context, *reader) error) (Result, error) {
	// The stream checks the context once for each chunk; a small layer is less than one chunk.
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	d, err := tree.Open(dir)
	if err != nil {
		return Result{}, err
	}
	defer d.Close()
	diffID, content := newDiffIDSink(), newContentSink(ctx, &o)
	defer content.close()
	sinks := []sink{diffID, content}
	if o.Tar != nil {
		sinks = append(sinks, &tarSink{w: o.Tar})
	}

	out, ctx := newStream(ctx, sinks...)
	defer out.close()
	out.moved = o.Progress
	r := &reader{o: &o, dirs: d, out: out, links: map[tree.FileID]hardLink{}, empty: true}
	if err := walk(ctx, r); err != nil {
		return Result{}, err
	}
	if err := out.finish(ctx); err != nil {
		return Result{}, err
	}

	return Result{
		DiffID:  diffID.digest(),
		Size:    diffID.size,
		Content: content.digest(),
		Empty:   r.empty,
		UIDs:    r.uids.sorted(),
		GIDs:    r.gids.sorted(),
		Disk:    r.disk,
		Linked:  len(r.links) > 0,
	}, nil
}

// reader walks a tree and puts an entry for each file into a stream.
type reader struct {
	o       *Options
	overlay string // prefix of overlay's own extended attributes; empty: the tree has none of them
	dirs    *tree.Dirs
	out     *stream
	// path of the directory being visited, relative to the root, with a trailing slash; empty: the root
	path   []byte
	links  map[tree.FileID]hardLink // files with several names, of which at least one was emitted
	uids   idSet                    // container user IDs of the entries so far
	gids   idSet                    // container group IDs of the entries so far
	xattrs tree.Xattrs
	dirBuf []byte
	disk   int64 // see Result.Disk
	empty  bool  // no entry was emitted yet
}

// hardLink is a file with several names, whose data was emitted under one of them.
type hardLink struct {
	name string // the name with the data, as in the stream
	left uint64 // how many names of the file the walk hasn't met yet; they may be outside of the tree
}

// idSet collects IDs. It remembers the last one added, since most files have the same owner as the one before.
type idSet struct {
	ids  map[uint32]struct{}
	last uint32
}

func (s *idSet) add(id uint32) {
	if s.ids == nil {
		s.ids = map[uint32]struct{}{}
	} else if id == s.last {
		return
	}
	s.last = id
	s.ids[id] = struct{}{}
}

func (s *idSet) sorted() []uint32 { return slices.Sorted(maps.Keys(s.ids)) }

// root emits the root directory if it differs from the parent layer's.
func (r *reader) root(ctx context.Context) (tree.Attrs, error) {
	var st unix.Stat_t
	if err := unix.Fstat(r.dirs.FD(), &st); err != nil {
		return tree.Attrs{}, fmt.Errorf("stat layer root: %w", err)
	}
	a, err := r.xattrs.Read(tree.Node{FD: r.dirs.FD()}, r.overlay)
	if err != nil {
		return tree.Attrs{}, fmt.Errorf("read layer root: %w", err)
	}
	if r.o.ParentRoot == nil || rootAttr(&st, a).Equal(*r.o.ParentRoot) {
		return a, nil
	}
	err = r.emit(ctx, &st, entry{name: []byte(rootName), typ: typeDir, xattrs: a.Stored}, nil)
	r.disk = 0 // the root directory doesn't count, whether it has an entry or not
	return a, err
}

// children emits all that is in the directory being visited.
func (r *reader) children(ctx context.Context) error {
	if r.dirBuf == nil {
		r.dirBuf = make([]byte, 64<<10)
	}
	names, err := tree.Names(r.dirs.FD(), r.dirBuf)
	if err != nil {
		return fmt.Errorf("list %q: %w", r.path, err)
	}
	for _, n := range names {
		if err := r.child(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// child emits a name of the directory being visited and all below it.
func (r *reader) child(ctx context.Context, n fsys.Dirent) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if r.o.Skip != nil {
		if skip, err := r.skips(n.Name); skip || err != nil {
			return err
		}
	}
	if strings.HasPrefix(n.Name, tree.WhiteoutPrefix) {
		return fmt.Errorf("read %q: %w", r.full(n.Name), ErrReservedName)
	}
	switch n.Type {
	case unix.DT_REG:
		return r.file(ctx, n.Name)
	case unix.DT_DIR:
		return r.dir(ctx, n.Name, r.subtree)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(r.dirs.FD(), n.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", r.full(n.Name), err)
	}
	return r.stated(ctx, n.Name, &st, r.subtree)
}

// skips asks whether a name of the directory being visited is left out.
func (r *reader) skips(name string) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(r.dirs.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, fmt.Errorf("stat %q: %w", r.full(name), err)
	}
	return r.o.Skip(r.full(name), st.Mode)
}

// stated emits a name that st describes; below emits the contents if it is a directory.
func (r *reader) stated(ctx context.Context, name string, st *unix.Stat_t, below belowFunc) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return r.file(ctx, name)
	case unix.S_IFDIR:
		return r.dir(ctx, name, below)
	case unix.S_IFSOCK:
		return nil
	case unix.S_IFCHR:
		if st.Rdev == 0 {
			return r.whiteout(ctx, name)
		}
	}
	return r.special(ctx, name, st)
}

// belowFunc emits the contents of the directory being visited, whose own entry was emitted before. opaque tells that
// overlay marks the directory as hiding those of the layers below.
type belowFunc func(ctx context.Context, opaque bool) error

// subtree emits the contents of a directory in a diff directory.
func (r *reader) subtree(ctx context.Context, opaque bool) error {
	if opaque {
		if err := r.mark(ctx, opaqueName); err != nil {
			return err
		}
	}
	return r.children(ctx)
}

// full is the path of a name in the directory being visited, for messages.
func (r *reader) full(name string) string { return string(r.path) + name }
