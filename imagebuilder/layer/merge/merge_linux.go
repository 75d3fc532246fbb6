package merge

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// ErrNotEmpty reports that the destination of Layers has entries already.
var ErrNotEmpty = errors.New("directory not empty")

// Layers makes dest, an empty directory, equal to a stack of overlay diff directories, the lowest first. It hard-links
// every file but directories, so all must be on one file system and the layers must not be written to afterwards; a
// file that has as many links as the file system allows is copied instead. A directory gets the attributes and times of
// the uppermost layer that has it. Whiteouts and opaque marks (attribute overlayXattr+"opaque") remove from dest the
// files that they hide, and are themselves part of dest, since more layers may lie below it. After an error dest holds
// an unusable part of the result, which the caller removes.
func Layers(ctx context.Context, dest string, layers []string, overlayXattr string) error {
	return newMerger(overlayXattr).merge(ctx, dest, layers)
}

// merger adds one layer after the other to a tree.
type merger struct {
	src, dst *tree.Dirs // the directory being visited, in the layer and in the result
	overlay  string     // prefix of overlay's own extended attributes
	path     []byte     // path of the directory being visited, relative to the root, with a trailing slash
	xattrs   tree.Xattrs
	buf      []byte
	data     fsys.Copier
	copies   map[tree.FileID]copied // copies that were made of files with too many links, by the file's ID in its layer
	// link makes a hard link to name in srcDir, with the same name in dstDir. It is linkAt; tests replace it.
	link func(srcDir int, name string, dstDir int) error
}

func newMerger(overlay string) *merger {
	return &merger{overlay: overlay, buf: make([]byte, 64<<10), copies: map[tree.FileID]copied{}, link: linkAt}
}

func (m *merger) merge(ctx context.Context, dest string, layers []string) (err error) {
	if m.overlay == "" {
		return errors.New("merge layers: prefix of overlay's extended attributes missing")
	}
	if m.dst, err = tree.Open(dest); err != nil {
		return err
	}
	defer m.dst.Close()
	names, err := tree.Names(m.dst.FD(), m.buf)
	if err != nil {
		return fmt.Errorf("list %q: %w", dest, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("merge layers into %q: %w", dest, ErrNotEmpty)
	}
	for _, l := range layers {
		if err := m.layer(ctx, l); err != nil {
			return fmt.Errorf("merge layer %q: %w", l, err)
		}
	}
	return nil
}

func linkAt(srcDir int, name string, dstDir int) error {
	return unix.Linkat(srcDir, name, dstDir, name, 0)
}

func (m *merger) layer(ctx context.Context, path string) error {
	src, err := tree.Open(path)
	if err != nil {
		return err
	}
	defer src.Close()
	m.src, m.path = src, m.path[:0]
	var st unix.Stat_t
	if err := unix.Fstat(src.FD(), &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	return m.dir(ctx, &st, false)
}

// dir merges the directory being visited in src into the one in dst. hidden tells that dst was just made in place of a
// file or a whiteout, which hid whatever the layers below dest have at this path; dst must go on hiding it.
func (m *merger) dir(ctx context.Context, st *unix.Stat_t, hidden bool) error {
	a, err := m.xattrs.All(tree.Node{FD: m.src.FD()}, m.overlay)
	if err != nil {
		return fmt.Errorf("read %q: %w", m.path, err)
	}
	if a.Opaque {
		if err := m.clear(ctx); err != nil {
			return err
		}
	}

	names, err := tree.Names(m.src.FD(), m.buf)
	if err != nil {
		return fmt.Errorf("list %q: %w", m.path, err)
	}

	for _, n := range names {
		if err := m.child(ctx, n); err != nil {
			return err
		}
	}

	if a.Opaque || hidden {
		if err := unix.Fsetxattr(m.dst.FD(), m.overlay+"opaque", []byte("y"), 0); err != nil {
			return fmt.Errorf("mark %q opaque: %w", m.path, err)
		}
	}

	// Attributes and times come last, since each name that is added changes the directory's times.
	if err := apply(&m.xattrs, m.dst.FD(), st, a.Stored, m.overlay); err != nil {
		return fmt.Errorf("set attributes of %q: %w", m.path, err)
	}
	return nil
}

func (m *merger) child(ctx context.Context, n fsys.Dirent) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	kind := uint32(n.Type) << 12 // DT_* are the type bits of a mode
	var st unix.Stat_t
	if n.Type == unix.DT_UNKNOWN || n.Type == unix.DT_CHR {
		if err := unix.Fstatat(m.src.FD(), n.Name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("stat %q: %w", m.full(n.Name), err)
		}
		kind = st.Mode & unix.S_IFMT
	}
	if kind == unix.S_IFDIR {
		return m.subdir(ctx, n.Name)
	}
	if err := m.leaf(ctx, n.Name); err != nil {
		return err
	}
	if kind == unix.S_IFCHR && st.Rdev == 0 {
		return m.expectWhiteouts()
	}
	return nil
}

// expectWhiteouts sets the "origin" mark of overlay on the directory being visited. In a directory that only one layer
// has, as it may be after a merge, the kernel shows whiteouts as files unless that mark is there
// (Documentation/filesystems/overlayfs.rst; fs/overlayfs/inode.c, "non-merge dir that may have whiteouts").
func (m *merger) expectWhiteouts() error {
	if err := unix.Fsetxattr(m.dst.FD(), m.overlay+"origin", nil, 0); err != nil {
		return fmt.Errorf("mark %q copied up: %w", m.path, err)
	}
	return nil
}

// subdir merges a directory of the one being visited.
func (m *merger) subdir(ctx context.Context, name string) error {
	hidden, err := m.makeDir(name)
	if err != nil {
		return fmt.Errorf("make directory %q: %w", m.full(name), err)
	}
	var st unix.Stat_t
	if err := m.dst.Push(name, &st); err != nil {
		return fmt.Errorf("open %q: %w", m.full(name), err)
	}
	if err := m.src.Push(name, &st); err != nil {
		return fmt.Errorf("open %q: %w", m.full(name), err)
	}
	parent := len(m.path)
	m.path = append(append(m.path, name...), '/')
	if err := m.dir(ctx, &st, hidden); err != nil {
		return err
	}
	m.path = m.path[:parent]
	if err := errors.Join(m.src.Pop(), m.dst.Pop()); err != nil {
		return fmt.Errorf("leave %q: %w", m.full(name), err)
	}
	return nil
}

// makeDir makes a directory in dst if there is none. It replaces a file or a whiteout of that name. Those hid what
// lower layers have there, which the new directory does only with an opaque mark: hidden tells that it needs one.
func (m *merger) makeDir(name string) (hidden bool, err error) {
	err = unix.Mkdirat(m.dst.FD(), name, 0o700)
	if !errors.Is(err, unix.EEXIST) {
		return false, err
	}
	err = unix.Unlinkat(m.dst.FD(), name, 0)
	if errors.Is(err, unix.EISDIR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, unix.Mkdirat(m.dst.FD(), name, 0o700)
}

// leaf links a file that isn't a directory, a whiteout too, in place of whatever has its name in dst.
func (m *merger) leaf(ctx context.Context, name string) error {
	if strings.HasPrefix(name, tree.WhiteoutPrefix) {
		return fmt.Errorf("merge %q: %w", m.full(name), tree.ErrReservedName)
	}
	err := m.link(m.src.FD(), name, m.dst.FD())
	if errors.Is(err, unix.EEXIST) {
		if err := m.remove(ctx, name); err != nil {
			return err
		}
		err = m.link(m.src.FD(), name, m.dst.FD())
	}
	if errors.Is(err, unix.EMLINK) {
		err = m.copy(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("link %q: %w", m.full(name), err)
	}
	return nil
}

// remove removes a name from the directory being visited in dst, with all below it.
func (m *merger) remove(ctx context.Context, name string) error {
	err := unix.Unlinkat(m.dst.FD(), name, 0)
	if errors.Is(err, unix.EISDIR) {
		var st unix.Stat_t
		if err := m.dst.Push(name, &st); err != nil {
			return fmt.Errorf("open %q: %w", m.full(name), err)
		}
		if err := m.clear(ctx); err != nil {
			return err
		}
		if err := m.dst.Pop(); err != nil {
			return fmt.Errorf("leave %q: %w", m.full(name), err)
		}
		err = unix.Unlinkat(m.dst.FD(), name, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return fmt.Errorf("remove %q: %w", m.full(name), err)
	}
	return nil
}

// clear empties the directory being visited in dst.
func (m *merger) clear(ctx context.Context) error {
	names, err := tree.Names(m.dst.FD(), m.buf)
	if err != nil {
		return fmt.Errorf("list %q: %w", m.path, err)
	}
	for _, n := range names {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := m.remove(ctx, n.Name); err != nil {
			return err
		}
	}
	return nil
}

// full is the path of a name in the directory being visited, for messages.
func (m *merger) full(name string) string { return string(m.path) + name }
