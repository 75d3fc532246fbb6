package rootfs

import (
	"context"
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/reclaim"
)

// links are the results of linked steps. Such a step, COPY --link, makes the same layer on every root, so its key
// doesn't depend on the root below. But a layer of the store has one parent. So a linked layer has two kinds of
// records: one under the step's key, which names the layer on the parent on which it was made last, and one for each
// parent on which it was put.
type links struct {
	results
	chains snapshot.Chains
	space  *reclaim.Space
}

var _ records = links{}

// linkKey is the key of a linked step's layer on one parent.
func linkKey(step cache.Key, parent string) cache.Key {
	return cache.NewKey("link").Add("step", string(step)).Add("parent", parent).Key()
}

// record keeps the result of a linked step under both keys.
func (l links) record(key cache.Key, below *Root, rec cache.Record) error {
	return errors.Join(l.cache.Put(key, rec), l.cache.Put(linkKey(key, below.Top()), rec))
}

// find gives the root that a linked step makes on top of a sealed root, nil if the cache has none. If the layer is on
// another parent, it is also put on this one.
func (l links) find(ctx context.Context, below *Root, key cache.Key) (*Root, *cache.Record, error) {
	if r, rec, err := l.results.find(ctx, below, linkKey(key, below.Top())); r != nil || err != nil {
		return r, rec, err
	}
	rec := l.get(key)
	if rec == nil || rec.Layer == nil {
		return l.arrivals.find(ctx, below, key)
	}
	if err := l.arrivals.bring(ctx, below); err != nil {
		return nil, nil, err
	}
	// No lock is held, since making the links takes a while. If another build does the same meanwhile, both layers have
	// the same stream, and the store keeps the one that is ready first for both builds.
	moved, err := l.putOn(ctx, below, *rec)
	if errors.Is(err, store.ErrNoLayer) {
		return l.arrivals.find(ctx, below, key)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("link layer %s: %w", rec.Layer.ID, err)
	}
	if moved.Recipe, err = l.cache.Recipe(key); err != nil {
		moved.Recipe = nil // it is for people only
	}
	if err := l.record(key, below, moved); err != nil {
		return nil, nil, err
	}
	return l.root(ctx, below, &moved), &moved, nil
}

// putOn makes a layer on top of a sealed root with the same files as the record's layer, which has another parent.
func (l links) putOn(ctx context.Context, below *Root, rec cache.Record) (cache.Record, error) {
	old, err := l.store.Layer(rec.Layer.ID)
	if _, has := l.store.UseLayer(ctx, old.ID, old.Parent); err == nil && !has {
		err = fmt.Errorf("layer %s: %w", old.ID, store.ErrNoLayer)
	}
	if err != nil {
		return rec, err
	}
	l.space.Check()
	made, err := l.chains.PutOn(ctx, below.Top(), old, snapshot.ReadOptions{Date: l.date})
	rec.Layer = &cache.Layer{ID: made.ID, Parent: below.Top(), DiffID: made.DiffID, Size: made.Size}
	return rec, err
}
