package fileop

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
)

// treeVisitor copies a directory's contents.
type treeVisitor struct{ c *copier }

var _ source.Visitor[*dir] = treeVisitor{}

// Enter implements source.Visitor.
func (v treeVisitor) Enter(parent *dir, e source.Entry, fd int) (*dir, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat /%s: %w", e.Path(), err)
	}
	xattrs, err := source.Xattrs(fd, v.c.rules.keepOwner)
	if err != nil {
		return nil, fmt.Errorf("read attributes of /%s: %w", e.Path(), err)
	}
	d, err := v.c.tree.newDir(parent, e.Name, v.c.rules.copied(&st, xattrs))
	if err != nil {
		return nil, err
	}
	d.passing = e.Passing
	if e.Excluded {
		// The directory is only made when a file in it turns out to be visible.
		return d, nil
	}
	if err := v.c.tree.ensure(d); err != nil {
		d.shut()
		return nil, err
	}
	return d, nil
}

// Visit implements source.Visitor.
func (v treeVisitor) Visit(d *dir, e source.Entry) error {
	err := v.c.copyFile(d, e.Name, e)
	if errors.Is(err, errVanished) {
		return nil
	}
	return err
}

// Leave implements source.Visitor.
func (v treeVisitor) Leave(d *dir, complete bool) error { return v.c.tree.finish(d, complete) }
