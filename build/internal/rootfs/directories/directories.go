// Package directories makes directories in the root file systems that steps write to: those of WORKDIR, and working
// directories that an image lacks.
package directories

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
)

// Make makes a directory that belongs to user, and its parents, if they are missing.
func Make(ctx context.Context, t *rootfs.Staged, path, user string) error {
	view, err := t.Snap.Start(ctx)
	if err != nil {
		return err
	}
	owner, err := workdirOwner(view.Dir, user)
	if err == nil {
		dir, marks := t.Snap.Files()
		_, err = fileop.Mkdir(ctx, fileop.MkdirOptions{
			View: view.Dir, Layer: dir, Path: path, Owner: owner, OverlayXattr: marks,
		})
		t.WroteFor(owner)
	}
	return errors.Join(err, view.Release())
}

// workdirOwner gives the owner of a directory that WORKDIR makes: the user of the next steps, read as --chown would. If
// the image hasn't got that user, the owner is root: unlike a step, a directory needn't fail for that.
func workdirOwner(view *os.File, spec string) (fileop.Owner, error) {
	var owner fileop.Owner
	user, group, _ := strings.Cut(spec, ":")
	if user != "" {
		o, err := fileop.LookupOwner(view, user)
		if err != nil && !errors.Is(err, fileop.ErrNoSuchUser) {
			return owner, fmt.Errorf("USER %s: %w", spec, err)
		}
		owner = o
	}
	if group != "" {
		o, err := fileop.LookupOwner(view, ":"+group)
		if err != nil && !errors.Is(err, fileop.ErrNoSuchUser) {
			return owner, fmt.Errorf("USER %s: %w", spec, err)
		}
		if err == nil {
			owner.GID = o.GID
		}
	}
	return owner, nil
}
