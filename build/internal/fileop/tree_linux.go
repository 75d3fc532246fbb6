package fileop

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// tree is the image that is written to: what the parent step left, and the layer on top of it.
type tree struct {
	root *dir
	// plain tells that the destination isn't a layer, so that no name means a deletion.
	plain bool
	// overlay is the prefix of overlayfs's attributes in the layer.
	overlay string
	// set gives new files their attributes.
	set *setter
	// kept are the directories of the destination, parents first. close finishes them.
	kept []*dir
	// wrote is set when the first file is made in the layer.
	wrote atomic.Bool
}

// openTree opens the layer and the view of o. The caller closes the tree.
func openTree(o CopyOptions, plain bool) (*tree, error) {
	layer, err := unix.Open(o.Layer, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open layer: %w", err)
	}

	t := &tree{root: &dir{view: -1, layer: layer}, plain: plain, overlay: o.OverlayXattr, set: newSetter()}
	if o.View != nil {
		if t.root.view, err = source.OpenDirectory(int(o.View.Fd()), "."); err != nil {
			_ = unix.Close(layer)
			return nil, fmt.Errorf("open parent: %w", err)
		}
	}

	if err := t.adopt(t.root); err != nil {
		t.root.shut()
		return nil, err
	}
	t.kept = append(t.kept, t.root)

	return t, nil
}

// close gives the directories of the destination their attributes, children first, and closes them.
func (t *tree) close(complete bool) error {
	var errs []error
	for n := len(t.kept) - 1; n >= 0; n-- {
		errs = append(errs, t.finish(t.kept[n], complete))
	}
	t.kept = nil

	return errors.Join(errs...)
}

// find looks a name up in the image as it is now, for source.Follow. A directory that it gives stays open until close.
func (t *tree) find(d *dir, name string) (source.Found[*dir], error) {
	return t.lookup(d, name, func(found *dir) { t.kept = append(t.kept, found) })
}

// lookup is find with a directory that keep takes over.
func (t *tree) lookup(d *dir, name string, keep func(*dir)) (source.Found[*dir], error) {
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
		found, err := t.newDir(d, name, nil)
		if err != nil {
			return none, err
		}
		keep(found)
		if from == d.layer {
			err = t.ensure(found)
		}
		return source.Found[*dir]{Kind: source.Directory, Dir: found}, err
	case unix.S_IFLNK:
		text, err := fsys.ReadLinkAt(from, name)
		return source.Found[*dir]{Kind: source.Link, Target: text}, err
	default:
		return source.Found[*dir]{Kind: source.Other}, nil
	}
}

// newDir gives the directory name in parent, which may not exist yet. Nothing is written before ensure. A nil a keeps
// the attributes that the directory has.
func (t *tree) newDir(parent *dir, name string, a *attrs) (*dir, error) {
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
func (t *tree) ensure(d *dir) error {
	if d.ready.Load() {
		return nil
	}
	if err := t.ensure(d.parent); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready.Load() {
		return nil
	}
	if !t.plain {
		if err := reserved(d.name); err != nil {
			return fmt.Errorf("create /%s: %w", d.path, err)
		}
	}
	if err := t.make(d); err != nil {
		return fmt.Errorf("create /%s: %w", d.path, err)
	}
	d.ready.Store(true)
	return nil
}

// make creates the layer's directory, or opens it if it is there. It is open to its owner only until it is finished.
func (t *tree) make(d *dir) error {
	err := unix.Mkdirat(d.parent.layer, d.name, 0o700)
	if errors.Is(err, unix.EEXIST) {
		return t.reopen(d)
	}
	t.wrote.Store(true)
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

// reopen opens a directory that the layer has already. It replaces a whiteout of that name by an opaque directory, so
// that the files which the whiteout hides stay hidden.
func (t *tree) reopen(d *dir) error {
	st, err := fsys.LstatAt(d.parent.layer, d.name)
	if err != nil {
		return err
	}
	if isWhiteout(&st) || d.replace && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return t.replaceByDir(d)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("cannot copy to non-directory: %w", ErrNotDirectory)
	}
	if d.layer, err = source.OpenDirectory(d.parent.layer, d.name); err != nil {
		return err
	}
	return t.adopt(d)
}

// replaceByDir puts a directory in place of a file of the layer. The file hid a directory of the parent's tree, if
// there is one; the new directory is made opaque to go on hiding it.
func (t *tree) replaceByDir(d *dir) error {
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
	return unix.Fsetxattr(d.layer, t.overlay+"opaque", []byte("y"), 0)
}

// adopt takes over a directory that the layer has: its attributes stay, finish resets its time, and if it is opaque,
// the directory of the parent's tree counts as missing.
func (t *tree) adopt(d *dir) error {
	from := d.layer
	if d == t.root && d.view >= 0 {
		from = d.view
	}
	if d != t.root || d.view >= 0 {
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
	if d.view >= 0 && d != t.root && t.opaque(d.layer) {
		_ = unix.Close(d.view)
		d.view = -1
	}
	d.ready.Store(true)
	return nil
}

func (t *tree) opaque(fd int) bool {
	var value [4]byte
	n, err := unix.Fgetxattr(fd, t.overlay+"opaque", value[:])
	return err == nil && n == 1 && value[0] == 'y'
}

// finish gives a directory that was written to its attributes, and closes it.
func (t *tree) finish(d *dir, complete bool) error {
	defer d.shut()
	if !complete || !d.ready.Load() || d.attrs == nil {
		return nil
	}
	if d == t.root && !t.wrote.Load() {
		return nil
	}
	if err := t.set.dir(d.layer, d.attrs); err != nil {
		return fmt.Errorf("set attributes of /%s: %w", d.path, err)
	}
	return nil
}
