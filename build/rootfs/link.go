package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// A linked step, COPY --link, makes the same layer whatever is below, so its key says nothing of that. But a layer of
// the store has its place on one parent. So there are two records for it: one under the step's key, which names the
// layer wherever it was last made, and one for each parent it has been put on.

// linkKey is the key of a linked step's layer on one parent.
func linkKey(step cache.Key, parent string) cache.Key {
	return cache.NewKey("link").Add("step", string(step)).Add("parent", parent).Key()
}

// recordLinked records a linked step's result on a sealed root.
func (b *Roots) recordLinked(key cache.Key, below *Root, rec cache.Record) error {
	return errors.Join(b.Cache.Put(key, rec), b.Cache.Put(linkKey(key, below.Top()), rec))
}

// lookUpLinked returns the root that a linked step gives on top of a sealed one, nil if the cache has none. The layer
// of another parent is put on this one.
func (b *Roots) lookUpLinked(ctx context.Context, below *Root, key cache.Key) (*Root, error) {
	here := linkKey(key, below.Top())
	if r := b.linkedAt(ctx, here, below); r != nil {
		return r, nil
	}
	rec := b.Cache.Get(key)
	if rec == nil || rec.Layer == nil {
		return nil, nil //nolint:nilnil // no root is an answer
	}
	// Nobody is kept from doing the same at the same time: the links take a while, and as they make the same stream, the
	// store takes the layer that is ready first for both.
	moved, err := b.relink(ctx, below, *rec)
	if errors.Is(err, store.ErrNoLayer) {
		return nil, nil //nolint:nilnil // no root is an answer
	}
	if err != nil {
		return nil, fmt.Errorf("link layer %s: %w", rec.Layer.ID, err)
	}
	if err := b.recordLinked(key, below, moved); err != nil {
		return nil, err
	}
	return b.fromRecord(ctx, below, &moved), nil
}

func (b *Roots) linkedAt(ctx context.Context, here cache.Key, below *Root) *Root {
	rec := b.Cache.Get(here)
	if rec == nil {
		return nil
	}
	return b.fromRecord(ctx, below, rec)
}

// relink makes a layer on top of a sealed root that holds the same as the record's, which lies elsewhere.
func (b *Roots) relink(ctx context.Context, below *Root, rec cache.Record) (cache.Record, error) {
	old, err := b.Store.Layer(rec.Layer.ID)
	if _, has := b.Store.UseLayer(ctx, old.ID, old.Parent); err == nil && !has {
		err = fmt.Errorf("layer %s: %w", old.ID, store.ErrNoLayer)
	}
	if err != nil {
		return rec, err
	}
	b.Space.Check()
	var l store.Layer
	if b.Store.Stages() {
		l, err = b.linkLayer(ctx, below, old)
	} else {
		l, err = b.Store.Restack(ctx, old, below.Top())
	}
	rec.Layer = &cache.Layer{ID: l.ID, Parent: below.Top(), DiffID: l.DiffID, Size: l.Size}
	return rec, err
}

// linkLayer makes the layer of hard links.
func (b *Roots) linkLayer(ctx context.Context, below *Root, old store.Layer) (l store.Layer, err error) {
	from, err := b.layers.get(old.ID)
	if err != nil {
		return store.Layer{}, err
	}
	snap, err := b.Store.Prepare(ctx, "")
	if err != nil {
		return store.Layer{}, err
	}
	defer func() { err = errors.Join(err, snap.Remove()) }()
	t := &Staged{Below: below, Snap: snap}
	if err := b.linkInto(ctx, t, from); err != nil {
		return store.Layer{}, err
	}
	return snap.Commit(ctx, below.Top())
}

func (b *Roots) linkInto(ctx context.Context, t *Staged, from *os.File) error {
	if err := b.linkLayers(ctx, t, []*os.File{from}); err != nil {
		return err
	}
	// The root directory isn't part of the layer: it is as the new parent has it.
	if err := b.inheritRoot(t); err != nil {
		return err
	}
	_, err := t.Snap.Read(store.ReadOptions{Context: ctx, Clamp: b.SourceDate, ParentRoot: t.parentRoot})
	return err
}

// linkLayers makes a step's directory of hard links to the files of layers.
func (b *Roots) linkLayers(ctx context.Context, t *Staged, layers []*os.File) error {
	var paths []string
	for _, f := range layers {
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}
	err := layer.Merge(ctx, t.Snap.Dir(), paths, b.Store.OverlayXattr())
	return errors.Join(b.CheckStill(t.Below), err)
}

// prepareLoose makes the directory a linked step writes to in a store that doesn't stage.
func (b *Roots) prepareLoose(ctx context.Context, s *plan.Step, below *Root) (*Staged, error) {
	snap, err := b.Store.PrepareLoose(ctx)
	if err != nil {
		return nil, err
	}
	attr, err := layer.ReadRootAttr(snap.Dir())
	if err != nil {
		return nil, errors.Join(err, snap.Remove())
	}
	return &Staged{Step: s, Below: below, Snap: snap, parentRoot: &attr}, nil
}
