package rootfs

import (
	"context"
	"errors"
	"time"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/fileop"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/snapshot"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/userns"
)

// Work makes the layer of one step. Each kind of step has a type that implements it.
type Work interface {
	// Shape gives the part of the step's key that is known before the root below has its content ID.
	Shape() Shape
	// Keys gives the cache keys of the step's result, those that take least time first: for example one made of the
	// content of a whole stage, and then one made of the files that are taken from it. Most steps have one.
	Keys() []KeyFunc
	// Exec carries out the step in the snapshot of t.
	Exec(ctx context.Context, t *Staged) error
	// Stable tells, after Exec, whether the inputs are still the same as when Exec began.
	Stable(ctx context.Context) (bool, error)
}

// Shape is the part of a step's key that is known before the root below has its content ID.
type Shape struct {
	Key cache.Key
	// Linked tells that the layer doesn't depend on the root below, and that the keys don't either (COPY --link).
	Linked bool
}

// A KeyFunc makes the cache key of a step's result on a root with the content ID below, from the content of the step's
// other inputs. It may take long.
type KeyFunc func(ctx context.Context, below cache.ContentID) (cache.Key, error)

// Staged is the snapshot that a step writes to, and the root below it that the step sees.
type Staged struct {
	Step  *plan.Step
	Below *Root
	Snap  snapshot.Snapshot
	// LargeFile, if Exec sets it, is called with the digests of the large files in the layer; see layer.Options.
	LargeFile func(name string, sum [32]byte)
	// wrote holds the container IDs that own the files the step wrote; WroteFor adds to it while the step runs, and
	// newRoot hands it to the step's Root.
	wrote userns.IDs
}

// WroteFor records the owners of files that the step wrote.
func (t *Staged) WroteFor(owners ...fileop.Owner) {
	for _, o := range owners {
		t.wrote.UIDs, t.wrote.GIDs = append(t.wrote.UIDs, o.UID), append(t.wrote.GIDs, o.GID)
	}
}

// Make takes a step's layer from the cache or does the step. The root it returns may still be waiting for its
// commit.
func (b *Roots) Make(ctx context.Context, s *plan.Step, below *Root, w Work) (r *Root, cached bool, err error) {
	if below, err = b.limitDepth(ctx, below); err != nil {
		return nil, false, err
	}
	shape := w.Shape()
	if !b.NoCache && b.Cache.Seen(shape.Key) {
		if r, err = b.lookUp(ctx, below, w.Keys(), shape.Linked); r != nil || err != nil {
			b.count(r != nil)
			return r, r != nil, err
		}
	}

	t, err := b.prepare(ctx, s, below, shape.Linked)
	if err != nil {
		return nil, false, err
	}

	b.Space.Check() // the step may have written to a cache mount, even if it failed
	started := time.Now()
	if err := w.Exec(ctx, t); err != nil {
		err = b.explainGone(t.Below, err)
		return nil, false, errors.Join(err, t.Snap.Remove())
	}

	b.count(false)
	r, err = b.newRoot(t)
	if err != nil {
		return nil, false, errors.Join(err, t.Snap.Remove())
	}

	c := commit{builder: b, root: r, target: t, work: w, shape: shape, took: time.Since(started)}
	b.commits.Go(func() error {
		err := guard.Call(func() error { return c.run(ctx) })
		if err != nil {
			err = b.Fail(s, err)
		}
		return err
	})

	return r, false, c.settle()
}

func (b *Roots) count(cached bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cached {
		b.cached++
	} else {
		b.ran++
	}
}

// lookUp returns the root that the cache has for the step, nil if it has none.
func (b *Roots) lookUp(ctx context.Context, below *Root, keys []KeyFunc, linked bool) (*Root, error) {
	if err := below.Wait(ctx); err != nil {
		return nil, err
	}
	for _, makeKey := range keys {
		key, err := makeKey(ctx, below.content)
		if err != nil {
			return nil, err
		}
		if linked {
			if r, err := b.lookUpLinked(ctx, below, key); r != nil || err != nil {
				return r, err
			}
			continue
		}
		if rec := b.Cache.Get(key); rec != nil {
			if r := b.fromRecord(ctx, below, rec); r != nil {
				return r, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // no root is an answer
}

// fromRecord makes the root that a record describes on top of a sealed root, nil if the store hasn't got the record's
// layer any more.
func (b *Roots) fromRecord(ctx context.Context, below *Root, rec *cache.Record) *Root {
	if rec.Layer == nil {
		return below
	}
	if !b.holds(ctx, rec.Layer, below.Top()) {
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
func (b *Roots) holds(ctx context.Context, l *cache.Layer, parent string) bool {
	if l.Parent != parent || l.DiffID.Validate() != nil || l.ID != store.LayerID(parent, l.DiffID) {
		return false
	}
	have, ok := b.Store.UseLayer(ctx, l.ID, parent)
	if ok {
		b.noteOwners(have)
	}
	return ok
}
