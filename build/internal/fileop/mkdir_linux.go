package fileop

import (
	"context"
	"errors"
	"fmt"
	"path"
)

// Mkdir makes a directory and its parents unless it exists; created tells whether it wrote to the layer. Symlinks are
// followed inside the image. ErrNotDirectory means that another kind of file has the name.
func Mkdir(ctx context.Context, o MkdirOptions) (created bool, err error) {
	mode := o.Mode
	if mode == 0 {
		mode = defaultDirMode
	}
	c, err := newCopier(ctx, CopyOptions{View: o.View, Layer: o.Layer, Dest: o.Path, OverlayXattr: o.OverlayXattr}, false)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.tree.close(err == nil)) }()
	t, err := follow(c.tree, path.Clean(o.Path))
	if err != nil {
		return false, fmt.Errorf("create %s: %w", o.Path, err)
	}
	if t.occupied {
		return false, fmt.Errorf("create %s: /%s is in the way: %w", o.Path, t.at.child(t.rest[0]), ErrNotDirectory)
	}
	created = len(t.rest) > 0
	made := attrs{uid: o.Owner.UID, gid: o.Owner.GID, mode: mode, mtime: omitTime()}
	if err := t.mkdir(len(t.rest), made); err != nil {
		return false, fmt.Errorf("create %s: %w", o.Path, err)
	}
	return created, nil
}
