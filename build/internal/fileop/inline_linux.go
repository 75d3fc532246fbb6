package fileop

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// defaultFileMode is the mode of a heredoc's file.
const defaultFileMode = 0o644

// inline writes a heredoc.
func (c *copier) inline(t *target, f InlineFile) error {
	fail := func(err error) error { return fmt.Errorf("copy <<%s: %w", f.Path, err) }
	name := path.Base(path.Clean("/" + f.Path))
	if name == "/" {
		return fail(ErrIsDirectory)
	}

	d, name, err := t.file(name)
	if err != nil {
		return fail(err)
	}
	if err := reserved(name); err != nil {
		return fail(err)
	}
	if err := c.tree.makeRoom(d, name); err != nil {
		return fail(err)
	}

	a := &attrs{mode: f.Mode, mtime: omitTime()}
	if a.mode == 0 {
		a.mode = defaultFileMode
	}

	a.uid, a.gid = c.rules.owner(0, 0)
	a.mode = c.rules.chmod.Apply(a.mode, false)
	fd, err := c.tree.create(d, name, a.mode)
	if err != nil {
		return fail(err)
	}
	if err = fsys.WriteAll(fd, f.Data); err != nil {
		err = fmt.Errorf("write: %w", err)
	} else {
		err = c.tree.set.file(d, fd, a)
	}

	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	if err != nil {
		return fail(err)
	}
	c.done.moved(1, int64(len(f.Data)))
	return nil
}
