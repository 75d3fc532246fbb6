package usage

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// Size tells how much space a tree takes on disk. The zero value is the size of no tree.
type Size struct {
	// Bytes is the space that is allocated for all files of the tree. A file with several names counts in proportion to
	// the names that the tree has: half of its space if half of its names are in the tree.
	Bytes int64
	// Links are the files of the tree that have further names outside of it.
	Links map[Inode]Link
}

// Inode identifies a file of this machine by device and inode number.
type Inode struct{ Dev, Ino uint64 }

// Link is a file that takes Bytes on disk and has Names hard links, of which Seen are in the tree.
type Link struct {
	Bytes       int64
	Seen, Names uint64
}

// statBlock is the unit of st_blocks, in bytes.
const statBlock = 512

// Share gives the bytes that one name of a file counts: the file's space divided by the number of its names.
func Share(st *unix.Stat_t) int64 {
	bytes := st.Blocks * statBlock
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		bytes /= int64(st.Nlink)
	}
	return bytes
}

// Measure walks a tree and tells how much space it takes on disk. It follows no symbolic link, refuses a dir that is
// one, and leaves out other file systems that are mounted in the tree. Files that are removed meanwhile aren't counted.
// With an error the size is that of what was seen until then.
func Measure(ctx context.Context, dir string) (Size, error) {
	dirs, err := tree.OpenPlain(dir)
	if err != nil {
		return Size{}, fmt.Errorf("measure %q: %w", dir, err)
	}
	m := measurer{dirs: dirs, links: map[Inode]Link{}, buf: make([]byte, 64<<10)}
	defer m.dirs.Close()
	var st unix.Stat_t
	if err := unix.Fstat(dirs.FD(), &st); err != nil {
		return Size{}, fmt.Errorf("measure %q: %w", dir, err)
	}
	m.dev = tree.ID(&st).Dev
	m.size.Bytes = Share(&st)
	if err := m.dir(ctx); err != nil {
		return Size{Bytes: m.size.Bytes}, fmt.Errorf("measure %q: %w", dir, err)
	}
	for id, l := range m.links {
		if l.Seen >= l.Names {
			delete(m.links, id)
		}
	}
	m.size.Links = m.links
	return m.size, nil
}

type measurer struct {
	dirs  *tree.Dirs
	dev   uint64
	size  Size
	links map[Inode]Link
	buf   []byte
}

func (m *measurer) dir(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	names, err := tree.Names(m.dirs.FD(), m.buf)
	if err != nil {
		return err
	}

	for _, n := range names {
		var st unix.Stat_t
		err := unix.Fstatat(m.dirs.FD(), n.Name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		if tree.ID(&st).Dev != m.dev {
			continue
		}

		m.size.Bytes += Share(&st)
		if st.Mode&unix.S_IFMT == unix.S_IFDIR {
			err = m.subdir(ctx, n.Name)
		} else if st.Nlink > 1 {
			m.link(&st)
		}
		if err != nil {
			return err
		}
	}

	return nil
}

func (m *measurer) subdir(ctx context.Context, name string) error {
	var st unix.Stat_t
	err := m.dirs.Push(name, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // it was removed, or replaced
	}
	if err != nil {
		return err
	}
	return errors.Join(m.dir(ctx), m.dirs.Pop())
}

func (m *measurer) link(st *unix.Stat_t) {
	id := Inode(tree.ID(st))
	l := m.links[id]
	l.Bytes, l.Names = st.Blocks*statBlock, uint64(st.Nlink) //nolint:unconvert // 32 bits on some architectures
	l.Seen++
	m.links[id] = l
}

// Freed gives the bytes that removing all the trees gives back: a file with several names counts only if all its names
// are in these trees.
func Freed(trees ...Size) int64 {
	var freed int64
	links := map[Inode]Link{}
	for _, t := range trees {
		freed += t.Bytes
		for id, l := range t.Links {
			freed -= l.Bytes / int64(l.Names) * int64(l.Seen)
			sum := links[id]
			sum.Bytes, sum.Names = l.Bytes, l.Names
			sum.Seen += l.Seen
			links[id] = sum
		}
	}
	for _, l := range links {
		if l.Seen >= l.Names {
			freed += l.Bytes
		}
	}
	return freed
}
