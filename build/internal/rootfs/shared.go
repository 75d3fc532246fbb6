package rootfs

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store"
)

// Shared is what caches that other machines fill know of the results of steps.
type Shared interface {
	// Seen tells whether one of them has a step of this shape.
	Seen(ctx context.Context, shape cache.Key) bool
	// Find gives the record under the key of a step; nil: none has it. A layer in it has neither ID nor parent.
	Find(ctx context.Context, key cache.Key) *cache.Record
	// Bring puts the layers of a chain that the store lacks into it; layers are all of the chain, the lowest first. After
	// an error the cache that could not give what it had promised is not asked again.
	Bring(ctx context.Context, layers []cache.Layer) error
}

// BrokenCacheError says that a shared cache could not give a layer that the build had counted on. Another attempt runs
// the step.
type BrokenCacheError struct{ Err error }

func (e *BrokenCacheError) Error() string {
	return fmt.Sprintf("fetch layers from the cache: %v", e.Err)
}

func (e *BrokenCacheError) Unwrap() error { return e.Err }

// absent is the part of a root whose uppermost layer a shared cache has, but perhaps not the store. It is brought when
// somebody needs the files: a root that only other cached roots stand on is never fetched.
type absent struct {
	// key is what the step was found by, and rec the record that the store's own cache gets once the layer is there.
	key  cache.Key
	rec  cache.Record
	come atomic.Bool
}

// arrivals find the results of steps in shared caches, and bring their layers when they are needed.
type arrivals struct {
	shared Shared
	cache  *cache.Cache
	store  *store.Store
	owners *owners
	ttl    time.Duration
	// bringing lets one chain of layers come at a time: chains of one build share most of their layers.
	bringing *semaphore.Weighted
}

func newArrivals(o Options, own *owners) *arrivals {
	return &arrivals{shared: o.Shared, cache: o.Cache, store: o.Store, owners: own, ttl: o.TTL,
		bringing: semaphore.NewWeighted(1)}
}

// find gives the root that a shared cache's record describes on top of a sealed root; nil: there is none.
func (a *arrivals) find(ctx context.Context, below *Root, key cache.Key) (*Root, *cache.Record, error) {
	if a.shared == nil {
		return nil, nil, nil
	}
	rec := fresh(a.shared.Find(ctx, key), a.ttl)
	if rec == nil {
		return nil, nil, nil
	}
	if rec.Layer == nil {
		return below, rec, a.cache.Put(key, *rec)
	}
	here := *rec
	here.Layer = &cache.Layer{ID: store.LayerID(below.Top(), rec.Layer.DiffID), Parent: below.Top(),
		DiffID: rec.Layer.DiffID, Size: rec.Layer.Size}
	r := sealedRoot(below, below.content.Above(rec.Content),
		append(below.layers[:len(below.layers):len(below.layers)], *here.Layer), rec.Created)
	r.own, r.absent = here.Layer, &absent{key: key, rec: here}
	if have, ok := a.store.UseLayer(ctx, here.Layer.ID, here.Layer.Parent); ok {
		a.owners.note(have)
		return r, rec, a.cameAll(r)
	}
	return r, rec, nil
}

// bring has all layers of a root in the store when it returns.
func (a *arrivals) bring(ctx context.Context, r *Root) error {
	if r.IsPresent() {
		return nil
	}
	if err := a.bringing.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer a.bringing.Release(1)
	if r.IsPresent() {
		return nil
	}
	if err := a.shared.Bring(ctx, r.layers); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &BrokenCacheError{err}
	}
	for _, l := range r.layers {
		have, ok := a.store.UseLayer(ctx, l.ID, l.Parent)
		if !ok {
			return fmt.Errorf("layer %s: %w", l.ID, store.ErrNoLayer)
		}
		a.owners.note(have)
	}
	return a.cameAll(r)
}

// cameAll notes that the store has the layers of a root and of those below it.
func (a *arrivals) cameAll(r *Root) (err error) {
	for at := r; at != nil; at = at.below {
		if at.absent != nil && !at.absent.come.Load() {
			err = errors.Join(err, a.cache.Put(at.absent.key, at.absent.rec))
			at.absent.come.Store(true)
		}
	}
	return err
}

// IsPresent tells whether no layer of the root has still to come from a shared cache.
func (r *Root) IsPresent() bool {
	for ; r != nil; r = r.below {
		if r.made {
			return true // the step was staged on what was there
		}
		if r.absent != nil {
			return r.absent.come.Load()
		}
		if r.own != nil {
			return true // the store has the layer, and with it those below
		}
	}
	return true
}

// Bring has all layers of a sealed root in the store when it returns.
func (b *Roots) Bring(ctx context.Context, r *Root) error { return b.results.arrivals.bring(ctx, r) }
