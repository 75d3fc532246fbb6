package rootfs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/store/snapshot"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/guard"
)

// prepare makes the snapshot that a step writes to; linked tells that the step doesn't see the files of the root below.
func (b *Roots) prepare(ctx context.Context, s *plan.Step, below *Root, linked bool) (*Staged, error) {
	prepare := b.Snapshots.Prepare
	if linked {
		prepare = b.Snapshots.PrepareAlone
	}
	snap, err := prepare(ctx, below)
	if err != nil {
		return nil, err
	}
	return &Staged{Step: s, Below: below, Snap: snap}, nil
}

// giveBack keeps a snapshot without content for another step, if nothing has been mounted on it.
func (b *Roots) giveBack(r *Root, t *Staged) error {
	if dir := r.dir; dir != nil {
		r.dir = nil
		if err := dir.Close(); err != nil {
			return errors.Join(err, t.Snap.Remove())
		}
	}
	return b.Snapshots.Reuse(t.Snap)
}

// newRoot makes the root of a step that was just done.
func (b *Roots) newRoot(t *Staged) (*Root, error) {
	r := &Root{below: t.Below, base: t.Below.base, made: true, wrote: t.wrote, known: make(chan struct{}),
		sealed: make(chan struct{})}
	dir, err := t.Snap.Pending()
	if err != nil {
		return nil, err
	}
	r.dir = dir
	return r, nil
}

// commit makes a layer of the files that a step wrote, in a goroutine that runs beside the next steps.
type commit struct {
	builder *Roots
	root    *Root
	target  *Staged
	work    Work
	shape   Shape
	took    time.Duration
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
			return c.builder.giveBack(c.root, c.target)
		}
	case <-timer.C:
	}
	if c.root.dir != nil {
		c.builder.OnClose(c.root.dir.Close)
	}
	c.builder.OnClose(c.target.Snap.Remove)
	return nil
}

func (c commit) run(ctx context.Context) error {
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
	if err == nil && r.own != nil && c.builder.Sealed != nil {
		c.builder.Sealed(c.target.Step, *r.own)
	}
	if err != nil {
		return errors.Join(err, c.target.Snap.Remove())
	}

	// The record is for later builds: no step of this build waits for it.
	if err := c.record(ctx, rec); err != nil {
		return err
	}
	c.builder.Space.Check()
	return nil
}

// layer makes the digests of the layer, and puts it into the store once the layer below is there.
func (c commit) layer(ctx context.Context, known func(error)) (cache.Record, error) {
	r, t := c.root, c.target
	shown := c.builder.reading(t.Step.Text)
	res, err := t.Snap.Read(ctx, snapshot.ReadOptions{
		Clamp: c.builder.SourceDate, LargeFile: t.LargeFile,
		Progress: shown.moved, Sparse: c.builder.warnSparse(t.Step.Location),
	})

	shown.end(ctx, err)
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
	if err := c.builder.CheckStill(t.Below); err != nil {
		return cache.Record{}, err
	}

	return c.seal(ctx, res)
}

// seal puts the layer into the store, or takes a layer of the store with the same content and parent.
func (c commit) seal(ctx context.Context, res layer.Result) (cache.Record, error) {
	r, b := c.root, c.builder
	below := c.target.Below
	r.layers, r.created = below.layers, below.created
	rec := cache.Record{Content: res.Content, Created: c.now(), Took: c.took, Step: c.target.Step.Text}
	if res.Empty {
		return rec, nil
	}

	// The content digest leaves out times, but SOURCE_DATE_EPOCH limits the times in the layer, so it must be in the key.
	key := b.addSourceDate(cache.NewKey("layer").Add("parent", below.Top()).Add("content", res.Content.String())).Key()
	unlock, err := b.Cache.Lock(ctx, key)
	if err != nil {
		return rec, err
	}
	defer unlock() //nolint:errcheck // closes a lock file: no data can be lost
	if same := b.Cache.Get(key); same != nil && same.Layer != nil && b.holds(ctx, same.Layer, below.Top()) {
		// The directory is removed at the end of the build, not here: it may be part of the next step's mount.
		rec.Layer, rec.Created = same.Layer, same.Created
	} else {
		l, err := c.target.Snap.Commit(ctx, below.Top())
		if err != nil {
			return rec, err
		}
		rec.Layer = &cache.Layer{ID: l.ID, Parent: below.Top(), DiffID: res.DiffID, Size: res.Size}
		if err := b.Cache.Put(key, rec); err != nil {
			return rec, err
		}
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
	for _, makeKey := range c.work.Keys() {
		key, err := makeKey(ctx, c.target.Below.content)
		if err != nil {
			return err
		}
		if c.shape.Linked {
			err = c.builder.recordLinked(key, c.target.Below, rec)
		} else {
			err = c.builder.Cache.Put(key, rec)
		}
		if err != nil {
			return err
		}
	}
	return c.builder.Cache.MarkSeen(c.shape.Key)
}

func (c commit) now() time.Time {
	now := time.Now().UTC()
	if d := c.builder.SourceDate; d != nil && d.Before(now) {
		return d.UTC()
	}
	return now
}
