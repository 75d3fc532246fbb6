package rootfs

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fileop"
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

// Described is a Work that can say what its keys are made of.
type Described interface {
	Work
	// Recipe is that of the last of Keys on a root with the content ID below; nil: that of the shape, for which no file is
	// read.
	Recipe(ctx context.Context, below *cache.ContentID) (*cache.Recipe, error)
}

// Keeping is a Work that keeps more of its result than a record.
type Keeping interface {
	Work
	// Keep is called once the result has a record with a layer.
	Keep(shape cache.Key, rec cache.Record) error
}

// Shape is the part of a step's key that is known before the root below has its content ID.
type Shape struct {
	Key cache.Key
	// Linked tells that the layer doesn't depend on the root below, and that the keys don't either (COPY --link).
	Linked bool
	// Awaited tells that a build which comes to the step while another is at an equal one waits for that: knowing that
	// they are equal takes no time beside doing it.
	Awaited bool
	// ReadsFiles tells that making the key may take long even if the root below is known.
	ReadsFiles bool
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
	c := commit{commits: b.commits, root: r, target: t, work: unrecorded{}, into: b.results, end: func() {}}
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
