package layer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer/internal/tree"
)

// ReadChanges is Read for storage drivers without diff directories. It makes the same stream from a mounted root file
// system, the paths that were added or changed in it, and those that were deleted from it; all of them from the root,
// with or without a leading slash, in any order. A changed directory stands for itself, not for what it holds. A path
// in both lists was replaced: if it is a directory now, nothing the parent had below it remains. The parents of all
// paths are part of the stream, as they are in a diff directory. Marks of overlay mean nothing here, so
// Options.OverlayXattr isn't used.
func ReadChanges(ctx context.Context, root string, changed, deleted []string, o Options) (Result, error) {
	tree, err := changeTree(changed, deleted)
	if err != nil {
		return Result{}, err
	}
	return derive(ctx, root, o, func(ctx context.Context, r *reader) error {
		if _, err := r.root(ctx); err != nil {
			return err
		}
		return r.changes(ctx, tree)
	})
}

// changes emits the children of c, the change of the directory that is being visited.
func (r *reader) changes(ctx context.Context, c *change) error {
	for _, name := range c.names() {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := r.change(ctx, name, c.children[name]); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) change(ctx context.Context, name string, c *change) error {
	if strings.HasPrefix(name, tree.WhiteoutPrefix) {
		return fmt.Errorf("read %q: %w", r.full(name), ErrReservedName)
	}
	if c.deleted && !c.changed {
		return r.whiteout(ctx, name)
	}

	var st unix.Stat_t
	if err := unix.Fstatat(r.dirs.FD(), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", r.full(name), err)
	}

	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFCHR && st.Rdev == 0 {
		return fmt.Errorf("read %q: %w", r.full(name), ErrReservedName)
	}
	if kind != unix.S_IFDIR {
		for below, child := range c.children {
			if child.changed {
				return fmt.Errorf("read %q: %w", r.full(name)+"/"+below, errors.New("parent is not a directory"))
			}
		}
	}

	return r.stated(ctx, name, &st, func(ctx context.Context, _ bool) error {
		if !c.deleted {
			return r.changes(ctx, c)
		}
		// The directory was replaced. The opaque mark hides all that the parent had in it, so deletions of single names below
		// it would add nothing, and a diff directory of overlay has none there either.
		if err := r.mark(ctx, opaqueName); err != nil {
			return err
		}
		for name, child := range c.children {
			if !child.changed {
				delete(c.children, name)
			}
		}
		return r.changes(ctx, c)
	})
}
