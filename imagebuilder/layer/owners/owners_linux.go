package owners

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// Translation translates user and group IDs of files, from one ID map to another. The errors of its functions are
// returned with the file's path.
type Translation struct {
	UID, GID func(id uint32) (uint32, error)
}

// Translate translates the owner of dir and of every file below it with ids. Set-ID bits, file capabilities, access
// control lists (the IDs in them are translated too) and times stay. Whiteouts have no owner to translate and are left
// alone, also those of mount programs, which are files with a reserved name. Files that are written to dir meanwhile
// may end up with any owner of the map, but no file outside of dir is ever touched, even if names in dir are exchanged
// for links. After an error some of the files are translated and some aren't.
func Translate(ctx context.Context, dir string, ids Translation) error {
	w := walk{seen: map[tree.FileID]bool{}, visit: ids.file}
	return w.walk(ctx, dir)
}

// IDs gives all IDs that Translate would translate in dir: owners and groups, and those in file capabilities and access
// control lists.
func IDs(ctx context.Context, dir string) (uids, gids []uint32, err error) {
	seenUIDs, seenGIDs := map[uint32]bool{}, map[uint32]bool{}
	note := func(seen map[uint32]bool) func(uint32) (uint32, error) {
		return func(id uint32) (uint32, error) {
			seen[id] = true
			return id, nil
		}
	}
	ids := Translation{UID: note(seenUIDs), GID: note(seenGIDs)}
	w := walk{seen: map[tree.FileID]bool{}, visit: func(x *tree.Xattrs, f tree.Node, st *unix.Stat_t) error {
		if _, _, err := ids.owner(st); err != nil {
			return err
		}
		_, err := ids.attrs(x, f, st)
		return err
	}}
	if err := w.walk(ctx, dir); err != nil {
		return nil, nil, err
	}
	return slices.Sorted(maps.Keys(seenUIDs)), slices.Sorted(maps.Keys(seenGIDs)), nil
}

// walk calls visit once for each inode of a tree but whiteouts.
type walk struct {
	visit  func(x *tree.Xattrs, f tree.Node, st *unix.Stat_t) error
	dirs   *tree.Dirs
	path   []byte
	seen   map[tree.FileID]bool // files with several names that were visited
	xattrs tree.Xattrs
	buf    []byte
}

func (w *walk) walk(ctx context.Context, dir string) (err error) {
	if w.dirs, err = tree.Open(dir); err != nil {
		return err
	}
	defer w.dirs.Close()
	w.buf = make([]byte, 64<<10)
	var st unix.Stat_t
	if err := unix.Fstat(w.dirs.FD(), &st); err != nil {
		return fmt.Errorf("stat %q: %w", dir, err)
	}
	return w.dir(ctx, &st)
}

// dir visits the open directory and all below it.
func (w *walk) dir(ctx context.Context, st *unix.Stat_t) error {
	if err := w.visit(&w.xattrs, tree.Node{FD: w.dirs.FD()}, st); err != nil {
		return fmt.Errorf("shift owner of %q: %w", "/"+string(w.path), err)
	}
	names, err := tree.Names(w.dirs.FD(), w.buf)
	if err != nil {
		return fmt.Errorf("list %q: %w", "/"+string(w.path), err)
	}
	for _, n := range names {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := w.child(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) child(ctx context.Context, name string) (err error) {
	parent := len(w.path)
	w.path = append(w.path, name...)
	defer func() { w.path = w.path[:parent] }()
	f, err := tree.OpenNode(w.dirs.FD(), name)
	if err != nil {
		return fmt.Errorf("open %q: %w", "/"+string(w.path), err)
	}
	defer func() { err = errors.Join(err, unix.Close(f.FD)) }()
	var st unix.Stat_t
	if err := unix.Fstat(f.FD, &st); err != nil {
		return fmt.Errorf("stat %q: %w", "/"+string(w.path), err)
	}

	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return w.subdir(ctx, name, &st)
	case isMark(name, &st):
		return nil
	case st.Nlink > 1:
		if w.seen[tree.ID(&st)] {
			return nil
		}
		w.seen[tree.ID(&st)] = true
	}

	if err := w.visit(&w.xattrs, f, &st); err != nil {
		return fmt.Errorf("shift owner of %q: %w", "/"+string(w.path), err)
	}
	return nil
}

func (w *walk) subdir(ctx context.Context, name string, st *unix.Stat_t) error {
	seen := tree.ID(st)
	if err := w.dirs.Push(name, st); err != nil {
		return fmt.Errorf("open %q: %w", "/"+string(w.path), err)
	}
	if tree.ID(st) != seen {
		return fmt.Errorf("open %q: %w", "/"+string(w.path), tree.ErrChanged)
	}
	w.path = append(w.path, '/')
	if err := w.dir(ctx, st); err != nil {
		return err
	}
	return w.dirs.Pop()
}

func isWhiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// isMark tells whether a file is a whiteout or an opaque mark, of the kernel's overlay or of a mount program.
func isMark(name string, st *unix.Stat_t) bool {
	return isWhiteout(st) || st.Mode&unix.S_IFMT == unix.S_IFREG && strings.HasPrefix(name, tree.WhiteoutPrefix)
}

// file shifts one file in place.
func (ids Translation) file(x *tree.Xattrs, f tree.Node, st *unix.Stat_t) error {
	uid, gid, err := ids.owner(st)
	if err != nil {
		return err
	}

	list, err := ids.attrs(x, f, st)
	if err != nil {
		return err
	}
	if uid != st.Uid || gid != st.Gid {
		if err := f.Chown(uid, gid); err != nil {
			return fmt.Errorf("change owner: %w", err)
		}
		// The change of owner made the kernel clear the set-ID bits and the file's capabilities.
		if st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 && st.Mode&unix.S_IFMT != unix.S_IFLNK {
			if err := f.Chmod(st.Mode & tree.PermMask); err != nil {
				return fmt.Errorf("change mode: %w", err)
			}
		}
	} else {
		list = slices.DeleteFunc(list, func(a attr) bool { return a.value == a.old })
	}

	for _, a := range list {
		if err := f.Set(a.name, a.value); err != nil {
			return fmt.Errorf("set extended attribute %q: %w", a.name, err)
		}
	}

	return nil
}
