package layer

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// DiskSize is what a tree takes on disk. The zero value is that of no tree.
type DiskSize struct {
	// Bytes are allocated: the blocks of everything in the tree. A file with several names counts by its names: with half
	// of them in the tree, with half of its blocks.
	Bytes int64
	// Links are the files that have names outside of the tree.
	Links map[Inode]Link
}

// Inode names a file of this machine.
type Inode struct{ Dev, Ino uint64 }

// Link is a file of which a tree has Seen of its Names, and which takes Bytes in all.
type Link struct {
	Bytes       int64
	Seen, Names uint64
}

// statBlock is the unit of st_blocks, in bytes.
const statBlock = 512

// share is what one name of a file counts.
func share(st *unix.Stat_t) int64 {
	bytes := st.Blocks * statBlock
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		bytes /= int64(st.Nlink)
	}
	return bytes
}

// Measure walks a tree and says what it takes on disk. No symbolic link is followed, dir itself isn't one either, and
// other file systems mounted there are left out. What is removed meanwhile isn't counted.
func Measure(ctx context.Context, dir string) (DiskSize, error) {
	fd, err := fsys.OpenAt(unix.AT_FDCWD, dir, dirFlags)
	if err != nil {
		return DiskSize{}, fmt.Errorf("measure %q: %w", dir, err)
	}
	m := measurer{dirs: &dirs{levels: []dirLevel{{fd: fd}}}, links: map[Inode]Link{}, buf: make([]byte, 64<<10)}
	defer m.dirs.close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return DiskSize{}, fmt.Errorf("measure %q: %w", dir, err)
	}
	m.dev = idOf(&st).dev
	m.size.Bytes = share(&st)
	if err := m.dir(ctx); err != nil {
		return DiskSize{}, fmt.Errorf("measure %q: %w", dir, err)
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
	dirs  *dirs
	dev   uint64
	size  DiskSize
	links map[Inode]Link
	buf   []byte
}

func (m *measurer) dir(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	names, err := readNames(m.dirs.fd(), m.buf)
	if err != nil {
		return err
	}
	for _, n := range names {
		var st unix.Stat_t
		err := unix.Fstatat(m.dirs.fd(), n.Name, &st, unix.AT_SYMLINK_NOFOLLOW)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		if idOf(&st).dev != m.dev {
			continue
		}
		m.size.Bytes += share(&st)
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
	err := m.dirs.push(name, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil // it was removed, or replaced
	}
	if err != nil {
		return err
	}
	return errors.Join(m.dir(ctx), m.dirs.pop())
}

func (m *measurer) link(st *unix.Stat_t) {
	id := Inode{idOf(st).dev, idOf(st).ino}
	l := m.links[id]
	l.Bytes, l.Names = st.Blocks*blockSize, uint64(st.Nlink) //nolint:unconvert // 32 bits on some architectures
	l.Seen++
	m.links[id] = l
}

// Freed is what is given back when trees are removed: a file with several names counts if all of them go.
func Freed(trees ...DiskSize) int64 {
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
