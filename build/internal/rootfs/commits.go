package rootfs

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
	"github.com/cooperbuild/cooper/build/internal/rootfs/reading"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/guard"
)

// commits make layers of the files that steps wrote, beside the next steps, in the order of the chain.
type commits struct {
	reader    reading.Reader
	results   results
	snapshots *snapshot.Room
	cleanups  *cleanups
	space     *reclaim.Space
	fail      func(s *plan.Step, err error) error
	sealed    func(s *plan.Step, l cache.Layer)
	noted     func(s *plan.Step, shape, key cache.Key)
	teller    account.Teller
	// group has the commits that run; their first failure ends the build.
	group errgroup.Group
}

// begin starts a commit in a goroutine, and waits for it as long as settle does.
func (cs *commits) begin(ctx context.Context, c commit) error {
	c.commits = cs
	cs.group.Go(func() error {
		err := guard.Call(func() error { return c.run(ctx) })
		if err != nil {
			err = cs.fail(c.target.Step, err)
		}
		return err
	})
	return c.settle()
}

// commit makes a layer of the files that a step wrote, in a goroutine that runs beside the next steps.
type commit struct {
	*commits
	root   *Root
	target *Staged
	work   Work
	// shape is the key of the step's Shape, into the place where later builds look for the result.
	shape cache.Key
	into  records
	took  time.Duration
	// end is called when the step's result is recorded, or when it is known that it won't be; it is not nil.
	end func()
}

// settleFor is how long a step waits for the digests of its own layer. Most layers are small enough for that. Once the
// content ID is known, the next step can be looked up in the cache, and an empty layer is left out.
const settleFor = 5 * time.Millisecond

// settle waits until the layer's digests are known, at most for settleFor. After it has returned, the step's directory
// may be part of other steps' mounts.
func (c commit) settle() error {
	timer := time.NewTimer(settleFor)
	defer timer.Stop()
	select {
	case <-c.root.sealed:
		if c.root.err == nil && c.root.own == nil {
			return c.giveBack()
		}
	case <-timer.C:
	}
	if c.root.dir != nil {
		c.cleanups.add(c.root.dir.Close)
	}
	c.cleanups.add(c.target.Snap.Remove)
	return nil
}

// giveBack offers the snapshot of a step that wrote nothing to another step; nothing has been mounted on it.
func (c commit) giveBack() error {
	if dir := c.root.dir; dir != nil {
		c.root.dir = nil
		if err := dir.Close(); err != nil {
			return errors.Join(err, c.target.Snap.Remove())
		}
	}
	return c.snapshots.Reuse(c.target.Snap)
}

// run makes the layer, tells those who wait for the root, and records what the step has made.
func (c commit) run(ctx context.Context) error {
	defer c.end()
	r := c.root
	var once sync.Once
	known := func(err error) {
		once.Do(func() {
			r.unknown = err
			close(r.known)
		})
	}

	var rec cache.Record
	err := guard.Call(func() (err error) { // a panic becomes an error for those who wait for the root
		rec, err = c.layer(ctx, known)
		return err
	})

	known(err)
	r.err = err
	close(r.sealed)
	if err == nil && r.own != nil && c.sealed != nil {
		c.sealed(c.target.Step, *r.own)
	}
	if err != nil {
		return errors.Join(err, c.target.Snap.Remove())
	}

	// The record is for later builds: no step of this build waits for it.
	if err := c.record(ctx, rec); err != nil {
		return err
	}
	c.space.Check()
	return nil
}

// layer makes the digests of the layer, and puts it into the store once the layer below is there.
func (c commit) layer(ctx context.Context, known func(error)) (cache.Record, error) {
	r, t := c.root, c.target
	res, err := c.reader.Read(ctx, t.Step, t.Snap, t.LargeFile)
	if err != nil {
		return cache.Record{}, err
	}
	if err := t.Below.WaitKnown(ctx); err != nil {
		return cache.Record{}, err
	}
	if r.content = t.Below.content; !res.Empty {
		r.content = r.content.Above(res.Content)
	}

	known(nil)
	if err := t.Below.Wait(ctx); err != nil {
		return cache.Record{}, err
	}
	if err := c.snapshots.CheckStill(t.Below.Top()); err != nil {
		return cache.Record{}, err
	}

	return c.seal(ctx, res)
}

// seal puts the layer into the store, and writes to the root which one it is.
func (c commit) seal(ctx context.Context, res layer.Result) (cache.Record, error) {
	r, below := c.root, c.target.Below
	r.layers, r.created = below.layers, below.created
	rec := cache.Record{Content: res.Content, Created: c.results.date.Record(time.Now()), Took: c.took,
		Step: c.target.Step.Text}
	if res.Empty {
		return rec, nil
	}
	rec, err := c.results.layer(ctx, c.target, res, rec)
	if err != nil {
		return rec, err
	}

	r.own, r.created = rec.Layer, rec.Created
	r.layers = append(r.layers[:len(r.layers):len(r.layers)], *rec.Layer)
	return rec, nil
}

// record makes the step's result known to later builds, unless its inputs changed while it ran.
func (c commit) record(ctx context.Context, rec cache.Record) error {
	if stable, err := c.work.Stable(ctx); err != nil || !stable {
		return err
	}
	below := c.target.Below.content
	if d, ok := c.work.(Described); ok {
		recipe, err := d.Recipe(ctx, &below)
		if err != nil {
			return err
		}
		rec.Recipe = recipe
	}
	var key cache.Key
	for _, makeKey := range c.work.Keys() {
		var err error
		if key, err = makeKey(ctx, below); err != nil {
			return err
		}
		if err := c.into.record(key, c.target.Below, rec); err != nil {
			return err
		}
		c.note(c.target.Step, c.shape, key)
	}
	if c.teller != nil {
		c.teller.Recorded(c.target.Step, key)
	}
	if k, ok := c.work.(Keeping); ok && rec.Layer != nil {
		if err := k.Keep(c.shape, rec); err != nil {
			return err
		}
	}
	return c.results.cache.MarkSeen(c.shape, key)
}

// note reports that the result of a step is in the cache.
func (cs *commits) note(s *plan.Step, shape, key cache.Key) {
	if cs.noted != nil {
		cs.noted(s, shape, key)
	}
}
