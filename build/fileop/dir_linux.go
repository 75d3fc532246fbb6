package fileop

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// dir is a directory of the image: the one in the parent step's tree and the one in the layer, of which either may be
// missing.
type dir struct {
	parent *dir
	name   string
	// path is relative to the image's root.
	path string
	// view is a descriptor of the directory in the parent's tree, or -1 if that has none or the layer hides it.
	view int
	// blocked tells that the parent's tree has another kind of file in its place, replace that this may be replaced.
	blocked, replace bool
	// passing tells that the directory itself isn't copied, but holds a file that is copied with its parents: if it
	// exists, it gets the source's mode and keeps its other attributes.
	passing bool

	mu sync.Mutex
	// ready tells that layer, a descriptor of the directory in the layer, is set.
	ready atomic.Bool
	layer int
	// attrs are given to the directory when it is finished.
	attrs *attrs
	// inherits tells that a file made in the layer's directory may inherit the directory's group or an ACL.
	inherits bool
}

func (d *dir) child(name string) string {
	if d.path == "" {
		return name
	}
	return d.path + "/" + name
}

// shut closes the descriptors.
func (d *dir) shut() {
	if d.view >= 0 {
		_ = unix.Close(d.view)
		d.view = -1
	}
	if d.layer >= 0 {
		_ = unix.Close(d.layer)
		d.layer = -1
	}
}

// find looks a name up in the image as it is now, for source.Follow. A directory that it gives stays open until close.
func (c *copier) find(d *dir, name string) (source.Found[*dir], error) {
	return c.lookup(d, name, func(found *dir) { c.kept = append(c.kept, found) })
}

// lookup is find with a directory that keep takes over.
func (c *copier) lookup(d *dir, name string, keep func(*dir)) (source.Found[*dir], error) {
	var none source.Found[*dir]
	from := d.layer
	st, err := unix.Stat_t{}, error(unix.ENOENT)
	if d.ready.Load() {
		st, err = fsys.LstatAt(d.layer, name)
	}
	if errors.Is(err, unix.ENOENT) && d.view >= 0 {
		from = d.view
		st, err = fsys.LstatAt(d.view, name)
	}

	switch {
	case errors.Is(err, unix.ENOENT) || err == nil && isWhiteout(&st):
		return none, nil
	case err != nil:
		return none, fmt.Errorf("/%s: %w", d.child(name), err)
	}

	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		found, err := c.newDir(d, name, nil)
		if err != nil {
			return none, err
		}
		keep(found)
		if from == d.layer {
			err = c.ensure(found)
		}
		return source.Found[*dir]{Kind: source.Directory, Dir: found}, err
	case unix.S_IFLNK:
		text, err := fsys.ReadLinkAt(from, name)
		return source.Found[*dir]{Kind: source.Link, Target: text}, err
	default:
		return source.Found[*dir]{Kind: source.Other}, nil
	}
}

func isWhiteout(st *unix.Stat_t) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

// newDir gives the directory name in parent, which may not exist yet. Nothing is written before ensure. A nil a keeps
// the attributes that the directory has.
func (c *copier) newDir(parent *dir, name string, a *attrs) (*dir, error) {
	d := &dir{parent: parent, name: name, path: parent.child(name), view: -1, layer: -1, attrs: a}
	// The parent may be made by another goroutine right now, which may find that its view is hidden.
	parent.mu.Lock()
	defer parent.mu.Unlock()
	if parent.view < 0 {
		return d, nil
	}
	fd, err := source.OpenDirectory(parent.view, name)
	switch {
	case err == nil:
		d.view = fd
	case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		d.blocked = true
	case !errors.Is(err, unix.ENOENT):
		return nil, fmt.Errorf("open /%s: %w", d.path, err)
	}
	return d, nil
}

// ensure makes the directory exist in the layer. Several goroutines may call it.
func (c *copier) ensure(d *dir) error {
	if d.ready.Load() {
		return nil
	}
	if err := c.ensure(d.parent); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready.Load() {
		return nil
	}
	if !c.noLayer {
		if err := reserved(d.name); err != nil {
			return fmt.Errorf("create /%s: %w", d.path, err)
		}
	}
	if err := c.make(d); err != nil {
		return fmt.Errorf("create /%s: %w", d.path, err)
	}
	d.ready.Store(true)
	return nil
}

// make creates the layer's directory, or opens it if it is there. It is open to its owner only until it is finished.
func (c *copier) make(d *dir) error {
	err := unix.Mkdirat(d.parent.layer, d.name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		return c.reopen(d)
	}
	c.wrote.Store(true)
	if err != nil {
		return err
	}
	if d.blocked && !d.replace {
		_ = unix.Unlinkat(d.parent.layer, d.name, unix.AT_REMOVEDIR)
		return fmt.Errorf("cannot copy to non-directory: %w", ErrNotDirectory)
	}
	if d.view >= 0 {
		if err := d.keep(d.view); err != nil {
			return err
		}
	}
	d.inherits = d.parent.inherits
	d.layer, err = source.OpenDirectory(d.parent.layer, d.name)
	return err
}

// keep sets d.attrs for a directory that exists and is open as fd: its own attributes, unless it gets others.
func (d *dir) keep(fd int) error {
	if d.attrs != nil && !d.passing {
		return nil
	}
	has, err := attrsOf(fd, true)
	if err != nil {
		return err
	}
	if d.passing {
		has.mode = d.attrs.mode
	}
	d.attrs = has
	return nil
}

// reopen opens a directory that the layer has already. It replaces a whiteout of that name by an opaque directory, so
// that the files which the whiteout hides stay hidden.
func (c *copier) reopen(d *dir) error {
	st, err := fsys.LstatAt(d.parent.layer, d.name)
	if err != nil {
		return err
	}
	if isWhiteout(&st) || d.replace && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return c.replaceByDir(d)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("cannot copy to non-directory: %w", ErrNotDirectory)
	}
	if d.layer, err = source.OpenDirectory(d.parent.layer, d.name); err != nil {
		return err
	}
	return c.adopt(d)
}

// replaceByDir puts a directory in place of a file of the layer. The file hid a directory of the parent's tree, if
// there is one; the new directory is made opaque to go on hiding it.
func (c *copier) replaceByDir(d *dir) error {
	if err := unix.Unlinkat(d.parent.layer, d.name, 0); err != nil {
		return err
	}
	if err := unix.Mkdirat(d.parent.layer, d.name, 0o700); err != nil {
		return err
	}
	var err error
	if d.layer, err = source.OpenDirectory(d.parent.layer, d.name); err != nil {
		return err
	}
	d.inherits = d.parent.inherits
	if d.view < 0 {
		return nil
	}
	_ = unix.Close(d.view)
	d.view = -1
	return unix.Fsetxattr(d.layer, c.o.OverlayXattr+"opaque", []byte("y"), 0)
}

// adopt takes over a directory that the layer has: its attributes stay, finish resets its time, and if it is opaque,
// the directory of the parent's tree counts as missing.
func (c *copier) adopt(d *dir) error {
	from := d.layer
	if d == c.root && d.view >= 0 {
		from = d.view
	}
	if d != c.root || d.view >= 0 {
		if err := d.keep(from); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(d.layer, &st); err != nil {
		return err
	}
	var none [1]byte
	_, err := unix.Fgetxattr(d.layer, "system.posix_acl_default", none[:])
	d.inherits = st.Mode&unix.S_ISGID != 0 || err == nil || errors.Is(err, unix.ERANGE)
	if d.view >= 0 && d != c.root && c.opaque(d.layer) {
		_ = unix.Close(d.view)
		d.view = -1
	}
	d.ready.Store(true)
	return nil
}

func (c *copier) opaque(fd int) bool {
	var value [4]byte
	n, err := unix.Fgetxattr(fd, c.o.OverlayXattr+"opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// finish gives a directory that was written to its attributes, and closes it.
func (c *copier) finish(d *dir, complete bool) error {
	defer d.shut()
	if !complete || !d.ready.Load() || d.attrs == nil {
		return nil
	}
	if d == c.root && !c.wrote.Load() {
		return nil
	}
	if err := c.applyDir(d.layer, d.attrs); err != nil {
		return fmt.Errorf("set attributes of /%s: %w", d.path, err)
	}
	return nil
}

// reserved refuses names that a layer's archive would take for a deletion.
func reserved(name string) error {
	if strings.HasPrefix(name, ".wh.") {
		return fmt.Errorf("names starting with .wh. are %w", ErrWhiteout)
	}
	return nil
}
