package fileop

import (
	"fmt"
	"path"
	"strings"

	"github.com/cooperbuild/cooper/build/source"
)

// defaultDirMode is the mode of directories that are made for a destination.
const defaultDirMode = 0o755

// target is where the destination of a copy leads.
type target struct {
	// at is the deepest existing directory on the way to the destination, rest the names that follow it. They don't exist,
	// except that rest[0] is a file if occupied is set.
	at       *dir
	rest     []string
	occupied bool
	// isDir tells that the destination is a directory, into which files are put; otherwise the last of rest is the name
	// of the one file. several tells that there are several sources, for which the destination must be a directory.
	isDir, several bool
	dest           string
}

// target finds the destination of a number of sources, and decides whether it is a directory.
func (c *copier) target(sources int) (*target, error) {
	dest := c.o.Dest
	slash := strings.HasSuffix(dest, "/") || path.Base(dest) == "." || path.Clean(dest) == "/"
	t, err := c.follow(c.root, path.Clean(dest))
	if err != nil {
		return nil, fmt.Errorf("copy to %s: %w", dest, err)
	}
	t.dest, t.several = dest, sources > 1
	t.isDir = slash || len(t.rest) == 0
	if t.occupied && (t.isDir || len(t.rest) > 1) {
		return nil, fmt.Errorf("copy to %s: cannot copy to non-directory: %w", dest, ErrNotDirectory)
	}
	return t, nil
}

// follow resolves p in the image as it is now: below the directory from, as if that were the root.
func (c *copier) follow(from *dir, p string) (*target, error) {
	find := func(d *dir, _ []string, name string) (source.Found[*dir], error) { return c.find(d, name) }
	trail, err := source.Follow(from, p, find, func(*dir) {})
	if err != nil {
		return nil, err
	}
	return &target{at: trail.Last(), rest: trail.Rest, occupied: trail.Kind == source.Other && len(trail.Rest) > 0}, nil
}

// directory gives the destination as a directory, which it makes with the given mode if it is missing.
func (t *target) directory(c *copier, mode uint32) (*dir, error) {
	if t.occupied {
		return nil, fmt.Errorf("copy to %s: cannot copy to non-directory: %w", t.dest, ErrNotDirectory)
	}
	if err := t.mkdir(c, len(t.rest), c.implied(mode)); err != nil {
		return nil, fmt.Errorf("create %s: %w", t.dest, err)
	}
	t.isDir = true
	return t.at, nil
}

// file gives the directory and the name under which a source of the given name is put.
func (t *target) file(c *copier, name string) (*dir, string, error) {
	if t.isDir {
		d, err := t.directory(c, c.chmod.implied())
		return d, name, err
	}
	if t.several {
		return nil, "", fmt.Errorf("copy to %s: %w", t.dest, ErrNeedsDirectory)
	}
	if err := t.mkdir(c, len(t.rest)-1, c.implied(c.chmod.implied())); err != nil {
		return nil, "", fmt.Errorf("create %s: %w", t.dest, err)
	}
	return t.at, t.rest[0], nil
}

// implied gives the attributes of a directory that is made because a file is put into it.
func (c *copier) implied(mode uint32) attrs {
	a := attrs{mode: mode, mtime: omitTime()}
	if c.o.Chown != nil {
		a.uid, a.gid = c.o.Chown.UID, c.o.Chown.GID
	}
	return a
}

// mkdir makes the first n missing directories.
func (t *target) mkdir(c *copier, n int, a attrs) error {
	for range n {
		d, err := c.newDir(t.at, t.rest[0], &a)
		if err != nil {
			return err
		}
		c.kept = append(c.kept, d)
		if err := c.ensure(d); err != nil {
			return err
		}
		t.at, t.rest = d, t.rest[1:]
	}
	return nil
}
