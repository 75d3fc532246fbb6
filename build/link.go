package build

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

// A linked step, COPY --link, makes the same layer whatever is below, so its key says nothing of that. But a layer of the
// store has its place on one parent. So there are two records for it: one under the step's key, which names the layer
// wherever it was last made, and one for each parent it has been put on.

// linkKey is the key of a linked step's layer on one parent.
func linkKey(step cache.Key, parent string) cache.Key {
	return cache.NewKey("link").Add("step", string(step)).Add("parent", parent).Key()
}

// recordLinked records a linked step's result on a sealed root.
func (b *builder) recordLinked(key cache.Key, below *root, rec cache.Record) error {
	return errors.Join(b.cache.Put(key, rec), b.cache.Put(linkKey(key, below.top()), rec))
}

// lookUpLinked returns the root that a linked step gives on top of a sealed one, nil if the cache has none. The layer of
// another parent is put on this one.
func (b *builder) lookUpLinked(ctx context.Context, below *root, key cache.Key) (*root, error) {
	here := linkKey(key, below.top())
	if r := b.linkedAt(here, below); r != nil {
		return r, nil
	}
	rec := b.cache.Get(key)
	if rec == nil || rec.Layer == nil {
		return nil, nil //nolint:nilnil // no root is an answer
	}
	unlock, err := b.cache.Lock(here)
	if err != nil {
		return nil, err
	}
	defer unlock() //nolint:errcheck // closing a lock file
	if r := b.linkedAt(here, below); r != nil {
		return r, nil
	}
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
	return b.fromRecord(below, &moved), nil
}

func (b *builder) linkedAt(here cache.Key, below *root) *root {
	rec := b.cache.Get(here)
	if rec == nil {
		return nil
	}
	return b.fromRecord(below, rec)
}

// relink makes a layer on top of a sealed root that holds the same as the record's, which lies elsewhere.
func (b *builder) relink(ctx context.Context, below *root, rec cache.Record) (cache.Record, error) {
	old, err := b.store.Layer(rec.Layer.ID)
	if _, has := b.store.UseLayer(old.ID, old.Parent); err == nil && !has {
		err = fmt.Errorf("layer %s: %w", old.ID, store.ErrNoLayer)
	}
	if err != nil {
		return rec, err
	}
	b.req.space.Check()
	var l store.Layer
	if b.store.Stages() {
		l, err = b.linkLayer(ctx, below, old)
	} else {
		l, err = b.store.Restack(old, below.top())
	}
	rec.Layer = &cache.Layer{ID: l.ID, Parent: below.top(), DiffID: l.DiffID, Size: l.Size}
	return rec, err
}

// linkLayer makes the layer of hard links.
func (b *builder) linkLayer(ctx context.Context, below *root, old store.Layer) (l store.Layer, err error) {
	from, err := b.layers.get(old.ID)
	if err != nil {
		return store.Layer{}, err
	}
	snap, err := b.store.Prepare("")
	if err != nil {
		return store.Layer{}, err
	}
	defer func() { err = errors.Join(err, snap.Remove()) }()
	t := &target{below: below, snap: snap}
	if err := b.linkInto(ctx, t, from); err != nil {
		return store.Layer{}, err
	}
	return snap.Commit(below.top())
}

func (b *builder) linkInto(ctx context.Context, t *target, from *os.File) error {
	if err := b.linkLayers(ctx, t, []*os.File{from}); err != nil {
		return err
	}
	// The root directory isn't part of the layer: it is as the new parent has it.
	if err := b.inheritRoot(t); err != nil {
		return err
	}
	_, err := t.snap.Read(store.ReadOptions{Context: ctx, Clamp: b.req.SourceDate, ParentRoot: t.parentRoot})
	return err
}

// linkLayers makes a step's directory of hard links to the files of layers.
func (b *builder) linkLayers(ctx context.Context, t *target, layers []*os.File) error {
	var paths []string
	for _, f := range layers {
		paths = append(paths, fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	}
	err := layer.Merge(ctx, t.snap.Dir(), paths, b.store.OverlayXattr())
	return errors.Join(b.checkStill(t.below), err)
}

// prepareLoose makes the directory a linked step writes to in a store that doesn't stage.
func (b *builder) prepareLoose(ctx context.Context, s *plan.Step, below *root) (*target, error) {
	snap, err := b.store.PrepareLoose(ctx)
	if err != nil {
		return nil, err
	}
	attr, err := layer.ReadRootAttr(snap.Dir())
	if err != nil {
		return nil, errors.Join(err, snap.Remove())
	}
	return &target{step: s, below: below, snap: snap, parentRoot: &attr}, nil
}
