package fileop

import (
	"fmt"
	"path"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/source"
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

	tree  *tree
	rules rules
}

// target finds the destination of a number of sources, and decides whether it is a directory.
func (c *copier) target(sources int) (*target, error) {
	dest := c.o.Dest
	slash := strings.HasSuffix(dest, "/") || path.Base(dest) == "." || path.Clean(dest) == "/"
	t, err := follow(c.tree, path.Clean(dest))
	if err != nil {
		return nil, fmt.Errorf("copy to %s: %w", dest, err)
	}
	t.dest, t.several, t.rules = dest, sources > 1, c.rules
	t.isDir = slash || len(t.rest) == 0
	if t.occupied && (t.isDir || len(t.rest) > 1) {
		return nil, fmt.Errorf("copy to %s: cannot copy to non-directory: %w", dest, ErrNotDirectory)
	}
	return t, nil
}

// follow resolves p in the image as it is now.
func follow(image *tree, p string) (*target, error) {
	find := func(d *dir, _ []string, name string) (source.Found[*dir], error) { return image.find(d, name) }
	trail, err := source.Follow(image.root, p, find, func(*dir) {})
	if err != nil {
		return nil, err
	}
	return &target{
		at: trail.Last(), rest: trail.Rest, occupied: trail.Kind == source.Other && len(trail.Rest) > 0, tree: image,
	}, nil
}

// directory gives the destination as a directory, which it makes with the given mode if it is missing.
func (t *target) directory(mode uint32) (*dir, error) {
	if t.occupied {
		return nil, fmt.Errorf("copy to %s: cannot copy to non-directory: %w", t.dest, ErrNotDirectory)
	}
	if err := t.mkdir(len(t.rest), t.rules.implied(mode)); err != nil {
		return nil, fmt.Errorf("create %s: %w", t.dest, err)
	}
	t.isDir = true
	return t.at, nil
}

// file gives the directory and the name under which a source of the given name is put.
func (t *target) file(name string) (*dir, string, error) {
	if t.isDir {
		d, err := t.directory(t.rules.chmod.Implied())
		return d, name, err
	}
	if t.several {
		return nil, "", fmt.Errorf("copy to %s: %w", t.dest, ErrNeedsDirectory)
	}
	if err := t.mkdir(len(t.rest)-1, t.rules.implied(t.rules.chmod.Implied())); err != nil {
		return nil, "", fmt.Errorf("create %s: %w", t.dest, err)
	}
	return t.at, t.rest[0], nil
}

// mkdir makes the first n missing directories.
func (t *target) mkdir(n int, a attrs) error {
	for range n {
		d, err := t.tree.newDir(t.at, t.rest[0], &a)
		if err != nil {
			return err
		}
		t.tree.kept = append(t.tree.kept, d)
		if err := t.tree.ensure(d); err != nil {
			return err
		}
		t.at, t.rest = d, t.rest[1:]
	}
	return nil
}
