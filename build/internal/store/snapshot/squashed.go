package snapshot

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/imagebuilder/layer/merge"
)

// Squash makes one layer of others that lie on top of the layers of base; both are lowest first, and base may be empty.
// Unlike Merge it leaves out marks of deleted files that base doesn't have. If the result is empty there is no layer.
func (c Chains) Squash(ctx context.Context, base, layers []string, o ReadOptions) (made store.Layer, res layer.Result,
	err error) {
	below, err := c.room.View(ctx, Layers(base), NS{})
	if err != nil {
		return made, res, err
	}
	defer func() { err = errors.Join(err, below.Release()) }()
	parent := ""
	if len(base) > 0 {
		parent = base[len(base)-1]
	}

	w, ok := c.room.way.(*staging)
	if !ok {
		return c.squashArchive(ctx, append(base[:len(base):len(base)], layers...), squashing{parent, layers, below.Dir, o})
	}
	l := links{parent: parent, still: layers[len(layers)-1], linked: func(dir string) error {
		return merge.DropMarks(ctx, dir, below.Dir, c.room.lib.Layout.Marks)
	}}
	if l.below, err = c.room.dirs.rootOf(parent); err != nil {
		return made, res, err
	}
	for _, id := range layers {
		f, err := c.room.dirs.get(id)
		if err != nil {
			return made, res, err
		}
		l.from = append(l.from, f)
	}
	return w.link(ctx, l, o)
}

// squashing is what a squashed layer is put on.
type squashing struct {
	parent string
	// own are the layers that aren't below it.
	own []string
	// below shows the files of the parent; nil: there are none.
	below *os.File
	ReadOptions
}

// squashArchive makes a layer of the difference between two file systems: the one that all layers give, and that of the
// parent.
func (c Chains) squashArchive(ctx context.Context, all Layers, on squashing) (made store.Layer, res layer.Result,
	err error) {
	view, err := c.room.View(ctx, all, NS{})
	if err != nil {
		return made, res, err
	}
	defer func() { err = errors.Join(err, view.Release()) }()
	root, below := plainRoot(), ""
	if on.below != nil {
		below = fdPath(on.below)
		if root, err = layer.ReadRootAttr(below); err != nil {
			return made, res, err
		}
	}

	dir := fdPath(view.Dir)
	written, err := c.written(on.own)
	if err != nil {
		return made, res, err
	}
	changes, err := compare(ctx, dir, below, written)
	if err != nil {
		return made, res, fmt.Errorf("compare layers with their base: %w", err)
	}
	changed, deleted := sortChanges(changes)
	a := archived{room: c.room}
	if err := a.create(); err != nil {
		return made, res, err
	}
	res, err = layer.ReadChanges(ctx, dir, changed, deleted, on.options(layer.Options{
		OverlayXattr: c.room.lib.Layout.Marks, ParentRoot: &root, Tar: a.tar,
	}))
	if a.diffID = res.DiffID; err != nil || res.Empty {
		return made, res, errors.Join(err, a.close())
	}
	made, err = a.commit(ctx, on.parent, func() (layer.RootAttr, error) { return layer.ReadRootAttr(dir) }, a.close)
	return made, res, err
}
