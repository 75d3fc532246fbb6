package fileop

import (
	"errors"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// makeRoom makes the directory exist and refuses to hide a directory of the parent's tree behind a file.
func (t *tree) makeRoom(d *dir, name string) error {
	if err := t.ensure(d); err != nil {
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
func (t *tree) place(d *dir, name string, create func() error) error {
	t.wrote.Store(true)
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
func (t *tree) create(d *dir, name string, mode uint32) (int, error) {
	fd := -1
	err := t.place(d, name, func() (err error) {
		fd, err = unix.Openat(d.layer, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC,
			mode&0o777)
		return err
	})
	return fd, err
}

// node is a FIFO, a device or an empty file to be made.
type node struct {
	*attrs
	kind   uint32
	device int
}

func (t *tree) makeNode(d *dir, name string, n node) error {
	if n.kind == unix.S_IFCHR && n.device == 0 {
		return fmt.Errorf("character devices 0:0 are %w", ErrWhiteout)
	}
	err := t.place(d, name, func() error { return unix.Mknodat(d.layer, name, n.kind|n.mode&0o777, n.device) })
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("make device node: only real root can, not root of a user namespace: %w", err)
	}
	if err != nil {
		return err
	}
	if err := t.set.named(d, name, n.attrs); err != nil {
		return err
	}
	if n.mode&^0o777 == 0 && n.mode&t.set.umask == 0 && !d.inherits {
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
