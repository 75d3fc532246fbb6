package fileop

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// errVanished means that a name which was listed doesn't exist any more.
var errVanished = errors.New("it vanished while it was copied")

// copyFile copies a file that isn't a directory to name in d.
func (c *copier) copyFile(d *dir, name string, e source.Entry) error {
	err := reserved(name)
	if err == nil {
		err = c.makeRoom(d, name)
	}
	if err == nil {
		err = c.copyKind(d, name, e)
	}
	switch {
	case err == nil:
		c.moved(1, 0)
		return nil
	case errors.Is(err, source.ErrNotRegular):
		err = ErrChanged
	}
	return fmt.Errorf("copy %s to /%s: %w", c.from(e), d.child(name), err)
}

// from gives the name of a source for errors: the path in its context, in a form that can't be taken for a path of the
// machine.
func (c *copier) from(e source.Entry) string {
	if c.o.KeepOwner {
		return "/" + e.Path()
	}
	return e.Path()
}

func (c *copier) copyKind(d *dir, name string, e source.Entry) error {
	switch e.Type {
	case unix.DT_REG:
		return c.copyRegular(d, name, e)
	case unix.DT_LNK:
		return c.copySymlink(d, name, e)
	case unix.DT_FIFO, unix.DT_CHR, unix.DT_BLK, unix.DT_SOCK:
		return c.copySpecial(d, name, e)
	default:
		return fmt.Errorf("unknown kind of file %d", e.Type)
	}
}

// makeRoom makes the directory exist and refuses to hide a directory of the parent's tree behind a file.
func (c *copier) makeRoom(d *dir, name string) error {
	if err := c.ensure(d); err != nil {
		return err
	}
	if d.view < 0 {
		return nil
	}
	st, err := fsys.LstatAt(d.view, name)
	// An error is dropped here: it comes up again when the name is made.
	if isDir := err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR; !isDir {
		return nil
	}
	if above, err := fsys.LstatAt(d.layer, name); err == nil && above.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return fmt.Errorf("cannot overwrite directory with file: %w", ErrIsDirectory)
}

// place calls create to make a name in the layer, after removing a file of that name if there is one.
func (c *copier) place(d *dir, name string, create func() error) error {
	c.wrote.Store(true)
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	st, err := fsys.LstatAt(d.layer, name)
	if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Errorf("cannot overwrite directory with file: %w", ErrIsDirectory)
	}
	if err := unix.Unlinkat(d.layer, name, 0); err != nil {
		return err
	}
	return create()
}

// create makes a regular file for writing.
func (c *copier) create(d *dir, name string, mode uint32) (int, error) {
	fd := -1
	err := c.place(d, name, func() (err error) {
		fd, err = unix.Openat(d.layer, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC,
			mode&0o777)
		return err
	})
	return fd, err
}

func (c *copier) copyRegular(d *dir, name string, e source.Entry) error {
	var st unix.Stat_t
	src, err := source.OpenRegular(e.Dir, e.Name, &st)
	if errors.Is(err, unix.ENOENT) {
		return errVanished
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(src) }()
	if st.Nlink < 2 {
		return c.copyOpen(d, name, src, &st)
	}
	link, first := c.links.claim(linkKey{st.Dev, st.Ino})
	if !first {
		if linked, err := c.hardLink(d, name, link); linked || err != nil {
			return err
		}
		return c.copyOpen(d, name, src, &st)
	}
	err = c.copyOpen(d, name, src, &st)
	link.settle(d.path, name, err)
	return err
}

// copyOpen copies an open regular file.
func (c *copier) copyOpen(d *dir, name string, src int, st *unix.Stat_t) error {
	xattrs, err := source.Xattrs(src, c.o.KeepOwner)
	if err != nil {
		return err
	}
	a := c.copied(st, xattrs)
	dst, err := c.create(d, name, a.mode)
	if err != nil {
		return err
	}
	began := time.Now()
	n, err := c.data.CopyUntil(c.cause, dst, src, st)
	if err == nil && n == st.Size && n >= layer.LargeFileSize && c.o.LargeCopied != nil {
		c.o.LargeCopied(d.child(name), st, began)
	}
	if err == nil {
		err = c.applyFile(d, dst, a)
	}
	if closeErr := unix.Close(dst); err == nil {
		err = closeErr
	}
	return err
}

func (c *copier) copySymlink(d *dir, name string, e source.Entry) error {
	st, err := fsys.LstatAt(e.Dir, e.Name)
	if errors.Is(err, unix.ENOENT) {
		return errVanished
	}
	if err != nil {
		return err
	}
	text, err := fsys.ReadLinkAt(e.Dir, e.Name)
	if errors.Is(err, unix.EINVAL) {
		return ErrChanged
	}
	if err != nil {
		return err
	}
	if err := c.place(d, name, func() error { return unix.Symlinkat(text, d.layer, name) }); err != nil {
		return err
	}
	return c.applyName(d, name, c.copied(&st, nil))
}

// copySpecial copies a FIFO or device node. In place of a socket, which is of no use without its process, it makes an
// empty file.
func (c *copier) copySpecial(d *dir, name string, e source.Entry) error {
	st, err := fsys.LstatAt(e.Dir, e.Name)
	if errors.Is(err, unix.ENOENT) {
		return errVanished
	}
	if err != nil {
		return err
	}
	kind := st.Mode & unix.S_IFMT
	switch kind {
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
	case unix.S_IFSOCK:
		kind = unix.S_IFREG
	default:
		return ErrChanged
	}
	return c.makeNode(d, name, node{attrs: c.copied(&st, nil), kind: kind, device: st.Rdev})
}

// node is a FIFO, a device or an empty file to be made.
type node struct {
	*attrs
	kind   uint32
	device uint64
}

func (c *copier) makeNode(d *dir, name string, n node) error {
	if n.kind == unix.S_IFCHR && n.device == 0 {
		return fmt.Errorf("character devices 0:0 are %w", ErrWhiteout)
	}
	err := c.place(d, name, func() error { return unix.Mknodat(d.layer, name, n.kind|n.mode&0o777, int(n.device)) })
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("make device node: only real root can, not root of a user namespace: %w", err)
	}
	if err != nil {
		return err
	}
	if err := c.applyName(d, name, n.attrs); err != nil {
		return err
	}
	if n.mode&^0o777 == 0 && n.mode&c.umask == 0 && !d.inherits {
		return nil
	}
	return chmodName(d.layer, name, n.mode)
}

// chmodName changes the mode of a FIFO or device without opening it, which would have effects, and without following a
// symlink in its place.
func chmodName(dir int, name string, mode uint32) error {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}
