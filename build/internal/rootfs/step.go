package rootfs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/rootfs/together"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
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
	if below, err = b.merges.limit(ctx, below); err != nil {
		return nil, false, err
	}
	shape := w.Shape()
	turn, err := b.Together.Begin(ctx, together.Chain(below.steps, string(shape.Key)))
	if err != nil {
		return nil, false, err
	}
	mine := true // until the commit has the turn
	defer func() {
		if mine {
			turn.End()
		}
	}()
	if (!b.NoCache && !s.Fresh || turn.Again && !secretive(s)) && b.seen(ctx, shape.Key) {
		r, key, err := lookUp(ctx, b.records(shape), below, w.Keys())
		if r != nil && err == nil {
			b.cached.Add(1)
			b.commits.note(s, shape.Key, key)
			err = b.Cache.MarkSeen(shape.Key)
			r = b.found(r, below, turn)
		}
		if r != nil || err != nil {
			return r, r != nil, err
		}
	}
	started := time.Now()
	t, r, err := b.do(ctx, s, below, w)
	if err != nil {
		return nil, false, err
	}
	r.steps, mine = turn.Steps, false
	return r, false, b.commits.begin(ctx, commit{
		root: r, target: t, work: w, shape: shape.Key, into: b.records(shape), took: time.Since(started), turn: turn,
	})
}

// secretive tells whether a step sees what no key has: another build, which may give it something else, has not done it
// for this one.
func secretive(s *plan.Step) bool {
	run, ok := s.Op.(*plan.Run)
	return ok && slices.ContainsFunc(run.Mounts,
		func(m plan.Mount) bool { return m.Type == plan.MountSecret || m.Type == plan.MountSSH })
}

// found is a root of the cache as one of this step's own, whose steps can be told from those below.
func (b *Roots) found(r, below *Root, turn together.Turn) *Root {
	if b.Together == nil {
		return r
	}
	if r == below { // the step writes nothing
		r = sealedRoot(below, below.content, below.layers, below.created)
	}
	r.steps = turn.Steps
	return r
}

// do does the step, which gives the root that is still to be committed.
func (b *Roots) do(ctx context.Context, s *plan.Step, below *Root, w Work) (*Staged, *Root, error) {
	t, err := b.prepare(ctx, s, below, w.Shape().Linked)
	if err != nil {
		return nil, nil, err
	}

	b.Space.Check() // the step may have written to a cache mount, even if it failed
	if err := w.Exec(ctx, t); err != nil {
		err = b.explainGone(t.Below, err)
		return nil, nil, errors.Join(err, t.Snap.Remove())
	}
	b.ran.Add(1)
	r, err := newRoot(t)
	if err != nil {
		return nil, nil, errors.Join(err, t.Snap.Remove())
	}
	return t, r, nil
}

// records are where what a step of this shape has made is found, and kept.
func (b *Roots) records(shape Shape) records {
	if shape.Linked {
		return b.links
	}
	return b.results
}

// seen tells whether a step of this shape was ever recorded, here or in a shared cache.
func (b *Roots) seen(ctx context.Context, shape cache.Key) bool {
	return b.Cache.Seen(shape) || b.Shared != nil && b.Shared.Seen(ctx, shape)
}

// lookUp returns the root that there is a record of, and the record's key; nil if there is none.
func lookUp(ctx context.Context, made records, below *Root, keys []KeyFunc) (*Root, cache.Key, error) {
	if err := below.Wait(ctx); err != nil {
		return nil, "", err
	}
	for _, makeKey := range keys {
		key, err := makeKey(ctx, below.content)
		if err != nil {
			return nil, "", err
		}
		if r, err := made.find(ctx, below, key); r != nil || err != nil {
			return r, key, err
		}
	}
	return nil, "", nil
}

// prepare makes the snapshot that a step writes to; linked tells that the step doesn't see the files of the root below.
func (b *Roots) prepare(ctx context.Context, s *plan.Step, below *Root, linked bool) (*Staged, error) {
	prepare := b.snapshots.Prepare
	if linked {
		prepare = b.snapshots.PrepareAlone
	}
	if err := b.results.arrivals.bring(ctx, below); err != nil {
		return nil, err
	}
	snap, err := prepare(ctx, below)
	if err != nil {
		return nil, err
	}
	return &Staged{Step: s, Below: below, Snap: snap}, nil
}

// Stage makes the snapshot for a command that is run by hand on a root. Nobody keeps what it writes there: the caller
// removes it.
func (b *Roots) Stage(ctx context.Context, s *plan.Step, below *Root) (*Staged, error) {
	return b.prepare(ctx, s, below, false)
}

// explainGone adds to the error of a step that layers of its root were removed, if they were: a step fails in many ways
// then.
func (b *Roots) explainGone(below *Root, err error) error {
	if !below.IsSealed() {
		below = below.base
	}
	return errors.Join(b.CheckStill(below), err)
}

// Adopt gives the writable layer of a container as what a step writes to, on the root below it.
func (b *Roots) Adopt(s *plan.Step, below *Root, container string, shared bool) (*Staged, *snapshot.Adopted, error) {
	snap, err := b.snapshots.Adopt(container, shared)
	if err != nil {
		return nil, nil, err
	}
	return &Staged{Step: s, Below: below, Snap: snap}, snap, nil
}

// Seal makes a layer of what is in a snapshot, and of no step: nothing finds it in the cache but by its content. It
// gives the snapshot back.
func (b *Roots) Seal(ctx context.Context, t *Staged) (*Root, error) {
	r, err := newRoot(t)
	if err != nil {
		return nil, errors.Join(err, t.Snap.Remove())
	}
	c := commit{commits: b.commits, root: r, target: t, work: unrecorded{}, into: b.results}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	return r, t.Snap.Remove()
}

// unrecorded is the Work of what nobody has described, so that nothing can find it.
type unrecorded struct{}

var _ Work = unrecorded{}

func (unrecorded) Shape() Shape                         { return Shape{} }
func (unrecorded) Keys() []KeyFunc                      { return nil }
func (unrecorded) Exec(context.Context, *Staged) error  { return nil }
func (unrecorded) Stable(context.Context) (bool, error) { return false, nil }
