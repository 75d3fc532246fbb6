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

// Work is how one step makes its layer. Each kind of step has a type of its own that knows how.
type Work interface {
	// Shape is what is known of the step before the one below has its content ID.
	Shape() Shape
	// Keys find the result, those that cost least first: that of a whole stage, say, and then those of the files that are
	// taken from it. With one kind of input there is one.
	Keys() []KeyFunc
	// Exec does the step in the snapshot.
	Exec(ctx context.Context, t *Staged) error
	// Stable tells, after Exec, whether the inputs are still as they were when that began.
	Stable(ctx context.Context) (bool, error)
}

// Shape is what is known of a step before the one below has its content ID.
type Shape struct {
	Key cache.Key
	// Linked says that the layer doesn't depend on what is below, and that the keys don't either.
	Linked bool
}

// A KeyFunc makes the key of a step's result on what is below, with the content of the step's other inputs. It may take
// long.
type KeyFunc func(ctx context.Context, below cache.ContentID) (cache.Key, error)

// Staged is where a step writes to, and what it sees below.
type Staged struct {
	Step  *plan.Step
	Below *Root
	Snap  snapshot.Snapshot
	// LargeFile, if Exec sets it, is told the digests of the large files in the layer; see layer.Options.
	LargeFile func(name string, sum [32]byte)
	// wrote has the owners of what the step wrote, as WroteFor was told of them; the root that the commit makes takes them
	// over.
	wrote userns.IDs
}

// WroteFor notes who owns what was written.
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
	b.Space.Check() // it may write to a cache mount, even if it fails
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

// fromRecord makes the root a record describes on top of a sealed one, nil if the store no longer has what it needs.
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

// holds tells whether the store has the layer on top of this parent, and keeps it for this build. A layer whose ID
// isn't the one that any tool would give it, as earlier versions made them, counts as none: an image with it could not
// be pulled again.
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
