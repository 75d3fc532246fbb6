package fileop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/internal/chmod"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Copy carries out COPY, or ADD of local files. Files that are in the layer already count as part of the image. The
// error for a missing source is a *NoMatchError; that for a destination that can't be used wraps one of the package's
// errors. When Copy fails, the layer holds a part of the copy and must be thrown away.
func Copy(ctx context.Context, o CopyOptions) (result CopyResult, err error) {
	c, err := newCopier(ctx, o, false)
	if err != nil {
		return CopyResult{}, err
	}
	defer func() {
		err = errors.Join(err, c.tree.close(err == nil))
		result.Owners = c.tree.set.given.list() // listed last, since close gives directories their owners
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

	c.alone = len(sel.Items) == 1 && len(o.Files)+o.Others == 0 && sel.Items[0].IsDir() && !o.Parents && !o.UnpackArchives
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

	result = c.done.result()
	result.Missed = sel.Missed
	if c.alone {
		result.Alone, result.From, result.Into = true, sel.Items[0].Path, t.at.path
	}

	return result, nil
}

// copier is a running Copy, Mkdir or Unpack.
type copier struct {
	// cause gives the reason why the copy must stop, nil while there is none.
	cause func() error
	o     CopyOptions
	rules rules
	tree  *tree
	done  *tally
	// data copies the content of regular files.
	data  fsys.Copier
	links linkTable
	// share shares files with layers; nil: all are copied.
	share *sharer
	// alone tells that all files are those of one directory.
	alone bool
	// earlier links files from an earlier layer; nil: nothing does.
	earlier *earlier
}

// newCopier opens the tree that o names; plain is the tree's. The caller closes the tree.
func newCopier(ctx context.Context, o CopyOptions, plain bool) (*copier, error) {
	if !strings.HasPrefix(o.Dest, "/") {
		return nil, fmt.Errorf("copy to %q: destination isn't absolute", o.Dest)
	}
	mode, err := chmod.Parse(o.Chmod)
	if err != nil {
		return nil, err
	}
	t, err := openTree(o, plain)
	if err != nil {
		return nil, err
	}

	share, err := newSharer(o, t.root.layer)
	if err != nil {
		return nil, errors.Join(err, t.close(false))
	}
	done := &tally{tell: o.Moved}
	return &copier{
		cause: func() error { return context.Cause(ctx) }, o: o,
		rules: rules{chown: o.Chown, keepOwner: o.KeepOwner, chmod: mode},
		tree:  t, share: share, done: done,
		data: fsys.Copier{WriteBack: true, Done: func(bytes int64) { done.moved(0, bytes) }},
	}, nil
}

// tally counts what was written. Several goroutines use it.
type tally struct {
	files, bytes, devices atomic.Int64
	// tell is CopyOptions.Moved.
	tell func(files, bytes int64)
}

// result gives the counts so far.
func (t *tally) result() CopyResult {
	return CopyResult{Files: t.files.Load(), Bytes: t.bytes.Load(), Devices: t.devices.Load()}
}

// moved adds to the number of files and bytes, and tells of them.
func (t *tally) moved(files, bytes int64) {
	t.files.Add(files)
	t.bytes.Add(bytes)
	if t.tell != nil {
		t.tell(files, bytes)
	}
}

// item copies one source.
func (c *copier) item(ctx context.Context, t *target, item source.Selected) error {
	if item.IsDir() {
		made := len(t.rest) > 0
		d, err := t.directory(c.rules.chmod.Implied())
		if err != nil {
			return err
		}
		if made {
			own := *d.attrs
			own.mtime = item.Stat.Mtim
			d.attrs = &own
		}
		if c.earlier, err = c.before(item, d); err != nil {
			return fmt.Errorf("copy %s: %w", item.Pattern, err)
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

	d, name, err := t.file(item.Name)
	if err != nil {
		return fmt.Errorf("copy %s: %w", item.Pattern, err)
	}
	c.links.reset()
	return c.copyFile(d, name, f)
}
