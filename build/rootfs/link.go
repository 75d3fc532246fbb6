package rootfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/snapshot"
)

// A linked step, COPY --link, makes the same layer on every root, so its key doesn't depend on the root below. But a
// layer of the store has one parent. So a linked layer has two kinds of records: one under the step's key, which names
// the layer on the parent on which it was made last, and one for each parent on which it was put.

// linkKey is the key of a linked step's layer on one parent.
func linkKey(step cache.Key, parent string) cache.Key {
	return cache.NewKey("link").Add("step", string(step)).Add("parent", parent).Key()
}

// recordLinked records a linked step's result on a sealed root.
func (b *Roots) recordLinked(key cache.Key, below *Root, rec cache.Record) error {
	return errors.Join(b.Cache.Put(key, rec), b.Cache.Put(linkKey(key, below.Top()), rec))
}

// lookUpLinked returns the root that a linked step gives on top of a sealed root, nil if the cache has none. If the
// layer is on another parent, it is also put on this one.
func (b *Roots) lookUpLinked(ctx context.Context, below *Root, key cache.Key) (*Root, error) {
	here := linkKey(key, below.Top())
	if r := b.linkedAt(ctx, here, below); r != nil {
		return r, nil
	}
	rec := b.Cache.Get(key)
	if rec == nil || rec.Layer == nil {
		return nil, nil //nolint:nilnil // no root is an answer
	}
	// No lock is held, since making the links takes a while. If another build does the same meanwhile, both layers have
	// the same stream, and the store keeps the one that is ready first for both builds.
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

// relink makes a layer on top of a sealed root with the same files as the record's layer, which has another parent.
func (b *Roots) relink(ctx context.Context, below *Root, rec cache.Record) (cache.Record, error) {
	old, err := b.Store.Layer(rec.Layer.ID)
	if _, has := b.Store.UseLayer(ctx, old.ID, old.Parent); err == nil && !has {
		err = fmt.Errorf("layer %s: %w", old.ID, store.ErrNoLayer)
	}
	if err != nil {
		return rec, err
	}
	b.Space.Check()
	l, err := b.Snapshots.PutOn(ctx, below.Top(), old, snapshot.ReadOptions{Clamp: b.SourceDate})
	rec.Layer = &cache.Layer{ID: l.ID, Parent: below.Top(), DiffID: l.DiffID, Size: l.Size}
	return rec, err
}
