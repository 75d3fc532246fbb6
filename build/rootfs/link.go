package rootfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/snapshot"
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
	l, err := b.Snapshots.PutOn(ctx, below.Top(), old, snapshot.ReadOptions{Clamp: b.SourceDate})
	rec.Layer = &cache.Layer{ID: l.ID, Parent: below.Top(), DiffID: l.DiffID, Size: l.Size}
	return rec, err
}
