package rootfs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
	"github.com/cooperbuild/cooper/build/internal/rootfs/flights"
	"github.com/cooperbuild/cooper/build/internal/rootfs/together"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
)

// Make takes a step's layer from the cache or does the step. The root it returns may still be waiting for its
// commit.
func (b *Roots) Make(ctx context.Context, s *plan.Step, below *Root, w Work) (r *Root, cached bool, err error) {
	if below, err = b.merges.limit(ctx, below); err != nil {
		return nil, false, err
	}
	m := making{roots: b, step: s, below: below, work: w, shape: w.Shape()}
	m.turn, err = b.Together.Begin(ctx, together.Chain(below.steps, string(m.shape.Key)))
	if err != nil {
		return nil, false, err
	}
	end := m.turn.End
	mine := true // until the commit has the turn
	defer func() {
		if mine {
			end()
		}
	}()
	cause, key := m.cause(), cache.Key("")
	if m.mayBeCached() && m.seen(ctx) {
		if r, key, err = m.find(ctx); r != nil || err != nil {
			return r, r != nil, err
		}
		cause = account.NoRecord
	}
	if m.shape.Awaited {
		flight, another, err := b.flights.Begin(ctx, m.inTheAir())
		if err != nil {
			return nil, false, err
		}
		end = func() { flight.End(); m.turn.End() }
		if another {
			if r, key, err = m.find(ctx); r != nil || err != nil {
				return r, r != nil, err
			}
		}
	}
	m.missed(ctx, cause, key)
	started := time.Now()
	t, r, err := m.do(ctx)
	if err != nil {
		return nil, false, err
	}
	r.steps, mine = m.turn.Steps, false
	return r, false, b.commits.begin(ctx, commit{
		root: r, target: t, work: w, shape: m.shape.Key, into: m.records(), took: time.Since(started), end: end,
	})
}

// making is a step on its way to a root.
type making struct {
	roots *Roots
	step  *plan.Step
	below *Root
	work  Work
	shape Shape
	turn  together.Turn
}

// anew tells that the step is to be run whatever the cache has.
func (m making) anew() bool { return m.roots.NoCache || m.step.Fresh }

// mayBeCached tells whether the step is looked up in the cache.
func (m making) mayBeCached() bool { return !m.anew() || m.turn.Again && !secretive(m.step) }

// secretive tells whether a step sees what no key has: another build, which may give it something else, has not done it
// for this one.
func secretive(s *plan.Step) bool {
	run, ok := s.Op.(*plan.Run)
	return ok && slices.ContainsFunc(run.Mounts,
		func(m plan.Mount) bool { return m.Type == plan.MountSecret || m.Type == plan.MountSSH })
}

// seen tells whether a step of this shape was ever recorded, here or in a shared cache.
func (m making) seen(ctx context.Context) bool {
	key, shared := m.shape.Key, m.roots.Shared
	return m.roots.Cache.Seen(key) || shared != nil && shared.Seen(ctx, key)
}

// records are where what the step has made is found, and kept.
func (m making) records() records {
	if m.shape.Linked {
		return m.roots.links
	}
	return m.roots.results
}

// find takes the step's root from the cache; nil if that hasn't got it. The key is the one by which it was found, or
// was looked up last.
func (m making) find(ctx context.Context) (*Root, cache.Key, error) {
	got, err := lookUp(ctx, m.records(), m.below, m.work.Keys())
	if got.root == nil || err != nil {
		return nil, got.key, err
	}
	m.roots.cached.Add(1)
	m.roots.commits.note(m.step, m.shape.Key, got.key)
	if to := m.roots.Teller; to != nil {
		to.Hit(m.step, account.Hit{Shape: m.shape.Key, Key: got.key, Record: *got.rec})
	}
	return m.found(got.root), got.key, m.roots.Cache.MarkSeen(m.shape.Key, "")
}

// found is a root of the cache as one of this step's own, whose steps can be told from those below.
func (m making) found(r *Root) *Root {
	if below := m.below; r == below { // the step writes nothing
		if m.roots.Together == nil {
			return r
		}
		r = sealedRoot(below, below.content, below.layers, below.created)
	}
	r.steps = m.turn.Steps
	return r
}

// inTheAir is the step as builds of other processes are to see it.
func (m making) inTheAir() flights.Step {
	return flights.Step{
		Chain: m.turn.Steps, Alone: m.anew(),
		Ready: func() bool { return m.below.isKnown() && !m.shape.ReadsFiles },
		Key: func(ctx context.Context) (cache.Key, error) {
			if err := m.below.WaitKnown(ctx); err != nil {
				return "", err
			}
			return m.work.Keys()[0](ctx, m.below.content)
		},
		Waits: func() {
			m.roots.Progress.Emit(progress.StepOutput{ID: m.step.ID, Stderr: true,
				Data: []byte("another build runs this step: waiting for its result\n")})
		},
	}
}

// do does the step, which gives the root that is still to be committed.
func (m making) do(ctx context.Context) (*Staged, *Root, error) {
	b := m.roots
	t, err := b.prepare(ctx, m.step, m.below, m.shape.Linked)
	if err != nil {
		return nil, nil, err
	}

	b.Space.Check() // the step may have written to a cache mount, even if it failed
	if err := m.exec(ctx, t); err != nil {
		return nil, nil, errors.Join(err, t.Snap.Remove())
	}
	b.ran.Add(1)
	r, err := newRoot(t)
	if err != nil {
		return nil, nil, errors.Join(err, t.Snap.Remove())
	}
	return t, r, nil
}

// exec has the step done, as long as there is space for what it writes.
func (m making) exec(ctx context.Context, t *Staged) error {
	dir, _ := t.Snap.Files()
	guarded, release := m.roots.Space.Guard(ctx, dir)
	defer release()
	err := m.work.Exec(guarded, t)
	if err == nil {
		return nil
	}
	if cause := context.Cause(guarded); errors.As(cause, new(*reclaim.FullError)) {
		return cause // it says more than what came of it in the step
	}
	return m.roots.explainGone(t.Below, err)
}

// lookedUp is what there is a record of under a key, or nothing.
type lookedUp struct {
	root *Root
	rec  *cache.Record
	key  cache.Key
}

// lookUp finds the root that there is a record of under one of the keys.
func lookUp(ctx context.Context, made records, below *Root, keys []KeyFunc) (got lookedUp, err error) {
	if err := below.Wait(ctx); err != nil {
		return got, err
	}
	for _, makeKey := range keys {
		if got.key, err = makeKey(ctx, below.content); err != nil {
			return got, err
		}
		if got.root, got.rec, err = made.find(ctx, below, got.key); got.root != nil || err != nil {
			return got, err
		}
	}
	return got, nil
}
