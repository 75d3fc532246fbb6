package merge

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// DropMarks removes the marks in a diff directory that hide nothing: whiteouts of names, and opaque marks of
// directories, that the file system below, shown by base, doesn't have; nil: there is nothing below. A merged layer has
// such marks for files that one of its parts made and a later one deleted. No other
// file is changed.
func DropMarks(ctx context.Context, dir string, base *os.File, overlayXattr string) error {
	src, err := tree.Open(dir)
	if err != nil {
		return err
	}
	defer src.Close()
	d := &vainMarks{src: src, overlay: overlayXattr, buf: make([]byte, 64<<10)}
	if base == nil {
		d.missing = 1
		return d.dir(ctx)
	}
	if d.base, err = tree.Open(fmt.Sprintf("/proc/self/fd/%d", base.Fd())); err != nil {
		return err
	}
	defer d.base.Close()
	return d.dir(ctx)
}

// vainMarks walks through a diff directory and the file system below it at the same time.
type vainMarks struct {
	src, base *tree.Dirs
	// missing counts the levels of the directory being visited that the file system below doesn't have.
	missing int
	overlay string
	path    []byte
	buf     []byte
}

// dir looks at the directory being visited.
func (d *vainMarks) dir(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	names, err := tree.Names(d.src.FD(), d.buf)
	if err != nil {
		return fmt.Errorf("list %q: %w", d.path, err)
	}
	var before unix.Stat_t
	if err := unix.Fstat(d.src.FD(), &before); err != nil {
		return fmt.Errorf("stat %q: %w", d.path, err)
	}

	dropped := false
	for _, n := range names {
		gone, err := d.child(ctx, n.Name)
		if err != nil {
			return err
		}
		dropped = dropped || gone
	}

	if d.missing > 0 {
		err := unix.Fremovexattr(d.src.FD(), d.overlay+"opaque")
		if err != nil && !errors.Is(err, unix.ENODATA) {
			return fmt.Errorf("unmark %q: %w", d.path, err)
		}
	}
	if !dropped {
		return nil
	}
	times := []unix.Timespec{before.Atim, before.Mtim}
	if err := unix.UtimesNanoAt(d.src.FD(), ".", times, 0); err != nil {
		return fmt.Errorf("set times of %q: %w", d.path, err)
	}
	return nil
}

// child looks at a file of the directory being visited; gone tells that it was a mark, which is removed.
func (d *vainMarks) child(ctx context.Context, name string) (gone bool, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.src.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, fmt.Errorf("stat %q: %w", string(d.path)+name, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return false, d.subdir(ctx, name)
	case unix.S_IFCHR:
		if st.Rdev != 0 || d.has(name) {
			return false, nil
		}
		if err := unix.Unlinkat(d.src.FD(), name, 0); err != nil {
			return false, fmt.Errorf("remove %q: %w", string(d.path)+name, err)
		}
		return true, nil
	}
	return false, nil
}

// has tells whether the file system below has a name in the directory being visited.
func (d *vainMarks) has(name string) bool {
	if d.missing > 0 {
		return false
	}
	var st unix.Stat_t
	return !errors.Is(unix.Fstatat(d.base.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW), unix.ENOENT)
}

func (d *vainMarks) subdir(ctx context.Context, name string) error {
	var st unix.Stat_t
	if d.missing == 0 {
		err := d.base.Push(name, &st)
		switch {
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			d.missing++
		case err != nil:
			return fmt.Errorf("open %q below: %w", string(d.path)+name, err)
		}
	} else {
		d.missing++
	}
	if err := d.src.Push(name, &st); err != nil {
		return fmt.Errorf("open %q: %w", string(d.path)+name, err)
	}
	parent := len(d.path)
	d.path = append(append(d.path, name...), '/')
	if err := d.dir(ctx); err != nil {
		return err
	}
	d.path = d.path[:parent]

	err := d.src.Pop()
	if d.missing > 0 {
		d.missing--
	} else {
		err = errors.Join(err, d.base.Pop())
	}
	if err != nil {
		return fmt.Errorf("leave %q: %w", string(d.path)+name, err)
	}
	return nil
}
