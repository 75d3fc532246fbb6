package fileop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Copy carries out COPY, or ADD of local files. Files that are in the layer already count as part of the image. The
// error for a missing source is a *NoMatchError; that for a destination that can't be used wraps one of the package's
// errors. When Copy fails, the layer holds a part of the copy and must be thrown away.
func Copy(ctx context.Context, o CopyOptions) (result CopyResult, err error) {
	c, err := newCopier(ctx, o)
	if err != nil {
		return CopyResult{}, err
	}
	defer func() {
		err = errors.Join(err, c.close(err == nil))
		result.Owners = c.given.list() // listed last, since close gives directories their owners
	}()

	sel := &source.Selection{}
	if len(o.Sources) > 0 {
		q := source.Query{Patterns: o.Sources, Filter: o.Ignore, Excludes: o.Excludes, Parents: o.Parents}
		if sel, err = source.Select(o.Source, q); err != nil {
			return CopyResult{}, err
		}
		defer func() { _ = sel.Close() }()
	}

	t, err := c.target(len(sel.Items) + len(o.Files) + o.Others)
	if err != nil {
		return CopyResult{}, err
	}

	for _, item := range sel.Items {
		if err := c.item(ctx, t, item); err != nil {
			return CopyResult{}, err
		}
	}

	for _, f := range o.Files {
		if err := c.inline(t, f); err != nil {
			return CopyResult{}, err
		}
	}

	return CopyResult{Files: c.files.Load(), Bytes: c.bytes.Load(), Devices: c.devices.Load(), Missed: sel.Missed}, nil
}

// copier is one Copy or Mkdir under way.
type copier struct {
	// cause gives the reason why the copy must stop, nil while there is none.
	cause func() error
	o     CopyOptions
	chmod modeChange
	root  *dir
	// noLayer tells that the destination isn't a layer, so that no name means a deletion.
	noLayer bool
	// kept are the directories of the destination, parents first. close finishes them.
	kept []*dir

	// uid and gid own the files that this process makes; umask has the bits that their modes lack.
	uid, gid, umask uint32

	files, bytes, devices atomic.Int64
	// wrote is set when the first file is made in the layer.
	wrote atomic.Bool
	// data copies the content of regular files.
	data  fsys.Copier
	links linkTable
	given ownerSet
}

func newCopier(ctx context.Context, o CopyOptions) (*copier, error) {
	c := &copier{cause: func() error { return context.Cause(ctx) }, o: o}
	c.uid, c.gid = fsys.OwnIDs()
	c.umask = umask()
	c.data = fsys.Copier{WriteBack: true, Done: func(bytes int64) { c.moved(0, bytes) }}
	if !strings.HasPrefix(o.Dest, "/") {
		return nil, fmt.Errorf("copy to %q: destination isn't absolute", o.Dest)
	}

	var err error
	if c.chmod, err = parseChmod(o.Chmod); err != nil {
		return nil, err
	}

	layer, err := unix.Open(o.Layer, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open layer: %w", err)
	}

	c.root = &dir{view: -1, layer: layer}
	if o.View != nil {
		if c.root.view, err = source.OpenDirectory(int(o.View.Fd()), "."); err != nil {
			_ = unix.Close(layer)
			return nil, fmt.Errorf("open parent: %w", err)
		}
	}
	if err := c.adopt(c.root); err != nil {
		c.root.shut()
		return nil, err
	}

	c.kept = append(c.kept, c.root)
	return c, nil
}

// close gives the directories of the destination their attributes, children first, and closes them.
func (c *copier) close(complete bool) error {
	var errs []error
	for n := len(c.kept) - 1; n >= 0; n-- {
		errs = append(errs, c.finish(c.kept[n], complete))
	}
	c.kept = nil
	return errors.Join(errs...)
}

// moved adds to the number of files and bytes that were written, and tells o.Moved.
func (c *copier) moved(files, bytes int64) {
	c.files.Add(files)
	c.bytes.Add(bytes)
	if c.o.Moved != nil {
		c.o.Moved(files, bytes)
	}
}

// owner gives the owner of the copy of a file that belongs to uid and gid.
func (c *copier) owner(uid, gid uint32) (uint32, uint32) {
	switch {
	case c.o.Chown != nil:
		return c.o.Chown.UID, c.o.Chown.GID
	case c.o.KeepOwner:
		return uid, gid
	default:
		return 0, 0
	}
}

// item copies one source.
func (c *copier) item(ctx context.Context, t *target, item source.Selected) error {
	if item.IsDir() {
		made := len(t.rest) > 0
		d, err := t.directory(c, c.chmod.implied())
		if err != nil {
			return err
		}
		if made {
			own := *d.attrs
			own.mtime = item.Stat.Mtim
			d.attrs = &own
		}
		c.links.reset()
		tree := source.TreeOf(item, c.o.Ignore, d)
		tree.Workers = c.o.Workers
		if err := source.Walk(ctx, tree, treeVisitor{c}); err != nil {
			return fmt.Errorf("copy %s: %w", item.Pattern, err)
		}
		return nil
	}

	if err := c.cause(); err != nil {
		return err
	}
	f := item.Entry()
	if c.o.UnpackArchives && f.Type == unix.DT_REG {
		done, err := c.tryUnpack(t, f)
		if done || err != nil {
			return err
		}
	}

	d, name, err := t.file(c, item.Name)
	if err != nil {
		return fmt.Errorf("copy %s: %w", item.Pattern, err)
	}
	c.links.reset()
	return c.copyFile(d, name, f)
}
