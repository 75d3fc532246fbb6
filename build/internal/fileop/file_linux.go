package fileop

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// errVanished means that a name which was listed doesn't exist any more.
var errVanished = errors.New("it vanished while it was copied")

// copyFile copies a file that isn't a directory to name in d.
func (c *copier) copyFile(d *dir, name string, e source.Entry) error {
	err := reserved(name)
	if err == nil {
		err = c.tree.makeRoom(d, name)
	}
	if err == nil {
		err = c.copyKind(d, name, e)
	}
	switch {
	case err == nil:
		c.done.moved(1, 0)
		return nil
	case errors.Is(err, source.ErrNotRegular):
		err = ErrChanged
	}
	return fmt.Errorf("copy %s to /%s: %w", c.from(e), d.child(name), err)
}

// from gives the name of a source for errors: the path in its context, in a form that can't be taken for a path of the
// machine.
func (c *copier) from(e source.Entry) string {
	if c.rules.keepOwner {
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

func (c *copier) copyRegular(d *dir, name string, e source.Entry) error {
	if c.linkEarlier(d, name, e) || c.linkSole(d, name, e) {
		return nil
	}
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

// copyOpen copies an open regular file, or shares it with the layer that it is in.
func (c *copier) copyOpen(d *dir, name string, src int, st *unix.Stat_t) error {
	if c.share == nil || st.Size < leastShared && st.Nlink < 2 {
		return c.copyData(d, name, src, st)
	}
	path, err := os.Readlink(fdPath(src)) // without the links that may be in the way to it
	var from original
	ok := false
	if err == nil {
		from, ok = c.share.find(path, st)
	}
	if !ok {
		return c.copyData(d, name, src, st)
	}
	defer from.close()
	again := func() (now unix.Stat_t, err error) { return now, unix.Fstat(src, &now) }
	if c.link(d, name, from, again) {
		return nil
	}
	// Blocks can be shared by files of one mount only.
	own, err := fsys.Retry(func() (int, error) { return unix.Open(from.path(), unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(own) }()
	return c.copyData(d, name, own, st)
}

// copyData copies an open regular file.
func (c *copier) copyData(d *dir, name string, src int, st *unix.Stat_t) error {
	xattrs, err := source.Xattrs(src, c.rules.keepOwner)
	if err != nil {
		return err
	}
	a := c.rules.copied(st, xattrs)
	dst, err := c.tree.create(d, name, a.mode)
	if err != nil {
		return err
	}
	began := time.Now()
	n, err := c.data.CopyUntil(c.cause, dst, src, st)
	if err == nil && n == st.Size && n >= layer.LargeFileSize && c.o.LargeCopied != nil {
		c.o.LargeCopied(d.child(name), st, began)
	}
	if err == nil {
		err = c.tree.set.file(d, dst, a)
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
	if err := c.tree.place(d, name, func() error { return unix.Symlinkat(text, d.layer, name) }); err != nil {
		return err
	}
	return c.tree.set.named(d, name, c.rules.copied(&st, nil))
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
	return c.tree.makeNode(d, name, node{attrs: c.rules.copied(&st, nil), kind: kind, device: int(st.Rdev)})
}
