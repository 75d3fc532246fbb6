package rootfs

import (
	"context"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// records keep the results of steps on sealed roots, and find them again.
type records interface {
	// find gives the root that the step of a key makes on the root below, and the record; nil if there is none.
	find(ctx context.Context, below *Root, key cache.Key) (*Root, *cache.Record, error)
	// record keeps the result that the step of a key had on the root below.
	record(key cache.Key, below *Root, rec cache.Record) error
}

// results are the records of the cache whose layers the store has.
type results struct {
	cache  *cache.Cache
	store  *store.Store
	owners *owners
	// date replaces times in layers; nil: they stay as they are.
	date *layer.Date
	// arrivals are what shared caches have.
	arrivals *arrivals
	// ttl is how old a record may be; 0: as old as it is.
	ttl time.Duration
}

// get gives the record under the key of a step, unless it is too old.
func (f results) get(key cache.Key) *cache.Record { return fresh(f.cache.Get(key), f.ttl) }

// fresh is the record, or nil if it is older than ttl, which 0 never is.
func fresh(rec *cache.Record, ttl time.Duration) *cache.Record {
	if rec != nil && ttl > 0 && time.Since(rec.Created) > ttl {
		return nil
	}
	return rec
}

var _ records = results{}

// find gives the root of the record under a key.
func (f results) find(ctx context.Context, below *Root, key cache.Key) (*Root, *cache.Record, error) {
	if rec := f.get(key); rec != nil {
		if r := f.root(ctx, below, rec); r != nil {
			return r, rec, nil
		}
	}
	return f.arrivals.find(ctx, below, key)
}

// record keeps a result under the step's key, which has the content of the root below.
func (f results) record(key cache.Key, _ *Root, rec cache.Record) error { return f.cache.Put(key, rec) }

// root makes the root that a record describes on top of a sealed root, nil if the store hasn't got the record's
// layer any more.
func (f results) root(ctx context.Context, below *Root, rec *cache.Record) *Root {
	if rec.Layer == nil {
		return below
	}
	if !f.holds(ctx, rec.Layer, below.Top()) {
		return nil
	}
	layers := append(below.layers[:len(below.layers):len(below.layers)], *rec.Layer)
	r := sealedRoot(below, below.content.Above(rec.Content), layers, rec.Created)
	r.own = rec.Layer
	return r
}

// holds tells whether the store has the layer on top of this parent, and protects it from removal during this build. A
// layer that doesn't have the ID by which other tools would know it, as earlier versions made them, counts as missing:
// an image with it could not be pulled again.
func (f results) holds(ctx context.Context, l *cache.Layer, parent string) bool {
	if l.Parent != parent || l.DiffID.Validate() != nil || l.ID != store.LayerID(parent, l.DiffID) {
		return false
	}
	have, ok := f.store.UseLayer(ctx, l.ID, parent)
	if ok {
		f.owners.note(have)
	}
	return ok
}

// held gives the record under a key if the store has its layer on top of this parent; nil if it has not.
func (f results) held(ctx context.Context, key cache.Key, parent string) *cache.Record {
	rec := f.cache.Get(key)
	if rec == nil || rec.Layer == nil || !f.holds(ctx, rec.Layer, parent) {
		return nil
	}
	return rec
}

// layer adds its layer to the record of a step: a layer of the store with the same content and parent, or the files
// that the step wrote, which it puts into the store.
func (f results) layer(ctx context.Context, t *Staged, res layer.Result, rec cache.Record) (cache.Record, error) {
	parent := t.Below.Top()

	// The content digest leaves out times, but a date changes the times in the layer, so it must be in the key.
	key := addDate(cache.NewKey("layer").Add("parent", parent).Add("content", res.Content.String()), f.date).Key()
	unlock, err := f.cache.Lock(ctx, key)
	if err != nil {
		return rec, err
	}
	defer unlock() //nolint:errcheck // closes a lock file: no data can be lost
	if same := f.held(ctx, key, parent); same != nil {
		// The directory is removed at the end of the build, not here: it may be part of the next step's mount.
		rec.Layer, rec.Created = same.Layer, same.Created
		return rec, nil
	}
	l, err := t.Snap.Commit(ctx, parent)
	if err != nil {
		return rec, err
	}
	rec.Layer = &cache.Layer{ID: l.ID, Parent: parent, DiffID: res.DiffID, Size: res.Size}
	return rec, f.cache.Put(key, rec)
}
