package fileop

import (
	"errors"
	"fmt"
	"io"
	"path"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// copyBuffer is how many bytes of a member are written at a time.
const copyBuffer = 128 << 10

// directory opens the directory that a member is put into, and makes it and its parents if they are missing. It stays
// open until the next call.
func (u *unpacker) directory(name string) (*dir, error) {
	if u.at != nil && u.name == name {
		return u.at, nil
	}
	if err := u.leave(true); err != nil {
		return nil, err
	}

	keep := func(d *dir) { u.trail = append(u.trail, d) }
	find := func(d *dir, _ []string, name string) (source.Found[*dir], error) {
		return u.c.tree.lookup(d, name, keep)
	}
	t, err := source.Follow(u.root, name, find, func(*dir) {})
	if err != nil {
		return nil, err
	}
	if len(t.Rest) > 0 && t.Kind == source.Other {
		return nil, fmt.Errorf("/%s: %w", u.root.child(t.Path()), ErrNotDirectory)
	}

	d := t.Last()
	for _, missing := range t.Rest {
		made := u.c.rules.implied(defaultDirMode)
		if d, err = u.c.tree.newDir(d, missing, &made); err != nil {
			return nil, err
		}
		keep(d)
		if err := u.c.tree.ensure(d); err != nil {
			return nil, err
		}
	}

	u.at, u.name = d, name
	return d, nil
}

// leave finishes the directories on the way to the last member.
func (u *unpacker) leave(complete bool) error {
	var errs []error
	for n := len(u.trail) - 1; n >= 0; n-- {
		errs = append(errs, u.c.tree.finish(u.trail[n], complete))
	}
	u.at, u.trail = nil, nil
	return errors.Join(errs...)
}

// directoryMember makes a directory, or gives an existing one the member's attributes. Another kind of file in its
// place is removed.
func (u *unpacker) directoryMember(parent *dir, name string, a *attrs) error {
	d, err := u.c.tree.newDir(parent, name, a)
	if err != nil {
		return err
	}
	d.replace = true
	if err := u.c.tree.ensure(d); err != nil {
		d.shut()
		return err
	}
	return u.c.tree.finish(d, true)
}

// clear removes a directory of the layer that has the name of a member which isn't a directory. A directory of the
// parent's tree needn't be removed: the new file hides it.
func (u *unpacker) clear(d *dir, name string) error {
	st, err := fsys.LstatAt(d.layer, name)
	if errors.Is(err, unix.ENOENT) || err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	if err != nil {
		return err
	}
	return removeTree(d.layer, name)
}

// removeTree removes a directory of the layer with all that is in it.
func removeTree(parent int, name string) error {
	fd, err := source.OpenDirectory(parent, name)
	if err != nil {
		return err
	}
	err = emptyTree(fd)
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR)
}

func emptyTree(fd int) error {
	names, err := source.Names(fd)
	if err != nil {
		return err
	}
	for _, name := range names {
		err := unix.Unlinkat(fd, name, 0)
		if errors.Is(err, unix.EISDIR) {
			err = removeTree(fd, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// largeForHoles is the size in bytes of the smallest file that is written with holes on the host: image layers have
// zeros in place of holes.
const largeForHoles = 1 << 20

func (u *unpacker) regular(d *dir, name string, m memberFile) error {
	if err := u.clear(d, name); err != nil {
		return err
	}
	fd, err := u.c.tree.create(d, name, m.attrs.mode)
	if err != nil {
		return err
	}

	var w io.Writer = fdWriter{u.c, fd}
	switch {
	case isSparse(m.h):
		w = &sparseWriter{c: u.c, fd: fd}
		err = u.allowSparse(fd, m.h.Size)
	case u.disarmed != nil && m.h.Size >= largeForHoles:
		w = &sparseWriter{c: u.c, fd: fd}
		err = unix.Ftruncate(fd, m.h.Size)
	}

	if err == nil {
		if u.buf == nil {
			u.buf = make([]byte, copyBuffer)
		}
		_, err = io.CopyBuffer(w, m.data, u.buf)
	}
	if err == nil {
		err = u.c.tree.set.file(d, fd, m.attrs)
	}

	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	return err
}

// fdWriter writes to a descriptor until the copy is cancelled.
type fdWriter struct {
	c  *copier
	fd int
}

var _ io.Writer = fdWriter{}

// Write implements io.Writer.
func (w fdWriter) Write(p []byte) (int, error) {
	if err := w.c.cause(); err != nil {
		return 0, err
	}
	if err := fsys.WriteAll(w.fd, p); err != nil {
		return 0, fmt.Errorf("write: %w", err)
	}
	w.c.done.moved(0, int64(len(p)))
	return len(p), nil
}

// hardLink links name to the file that exists under the target's name, be it a member or a file of the image.
func (u *unpacker) hardLink(d *dir, name, target string) error {
	clean, err := u.memberName(target)
	if err != nil {
		return fmt.Errorf("hard link: %w", err)
	}
	// Directories found on the way to the target are finished with the rest.
	find := func(d *dir, _ []string, name string) (source.Found[*dir], error) {
		return u.c.tree.lookup(d, name, func(d *dir) { u.trail = append(u.trail, d) })
	}
	t, err := source.Follow(u.root, path.Dir("/"+clean), find, func(*dir) {})
	if err != nil || len(t.Rest) > 0 || clean == "" {
		return fmt.Errorf("%w: hard link to %q, which isn't there", ErrUnsafeArchive, target)
	}
	from, base := t.Last(), path.Base(clean)
	if from.path == d.path && base == name {
		return nil
	}
	if err := u.bring(from, base); err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	if err := u.clear(d, name); err != nil {
		return err
	}
	return u.c.tree.place(d, name, func() error { return unix.Linkat(from.layer, base, d.layer, name, 0) })
}

// bring copies a file of the parent's tree into the layer if the layer hasn't got it: no hard link leads from one layer
// to another.
func (u *unpacker) bring(d *dir, name string) error {
	if err := u.c.tree.ensure(d); err != nil {
		return err
	}
	st, err := fsys.LstatAt(d.layer, name)
	if err == nil && isWhiteout(&st) || errors.Is(err, unix.ENOENT) && d.view < 0 {
		return fmt.Errorf("%w: it isn't there", ErrUnsafeArchive)
	}
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return ErrIsDirectory
	}

	if err == nil || !errors.Is(err, unix.ENOENT) {
		return err
	}
	below, err := fsys.LstatAt(d.view, name)
	if errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("%w: it isn't there", ErrUnsafeArchive)
	}
	if err != nil {
		return err
	}

	if below.Mode&unix.S_IFMT == unix.S_IFDIR {
		return ErrIsDirectory
	}
	up := &copier{cause: u.c.cause, rules: rules{keepOwner: true}, tree: u.c.tree}

	return up.copyKind(d, name, source.Entry{Dir: d.view, Name: name, Type: uint8(below.Mode & unix.S_IFMT >> 12)})
}
