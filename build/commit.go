package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// prepare makes the directory a step writes to, with the root directory's attributes of what is below.
func (b *builder) prepare(ctx context.Context, s *plan.Step, below *root) (*target, error) {
	parent := ""
	if !b.store.Stages() {
		if err := below.wait(ctx); err != nil {
			return nil, err
		}
		parent = below.top()
	}
	snap, err := b.store.Prepare(parent)
	if err != nil {
		return nil, err
	}
	t := &target{step: s, below: below, snap: snap}
	if err := b.inheritRoot(t); err != nil {
		return nil, errors.Join(err, snap.Remove())
	}
	return t, nil
}

// inheritRoot gives the directory a step writes to the root directory's attributes of what is below.
func (b *builder) inheritRoot(t *target) error {
	from := ""
	if t.snap.Mounted() {
		if len(t.below.layers) > 0 {
			from = t.snap.Dir()
		}
	} else {
		dirs, err := b.stack(t.below)
		if err != nil {
			return err
		}
		if len(dirs) > 0 {
			from = fmt.Sprintf("/proc/self/fd/%d", dirs[0].Fd())
		}
	}
	t.parentRoot = &layer.RootAttr{Mode: 0o755}
	if from != "" {
		attr, err := layer.ReadRootAttr(from)
		if err != nil {
			return err
		}
		t.parentRoot = &attr
	}
	if from == t.snap.Dir() {
		return nil
	}
	return layer.SetRootAttr(t.snap.Dir(), *t.parentRoot)
}

// newRoot is the root of a step that was just done.
func (b *builder) newRoot(t *target) (*root, error) {
	r := &root{below: t.below, base: t.below.base, known: make(chan struct{}), sealed: make(chan struct{})}
	if t.snap.Mounted() {
		return r, nil
	}
	dir, err := openDir(t.snap.Dir())
	if err != nil {
		return nil, err
	}
	r.dir = dir
	b.onClose(dir.Close)
	return r, nil
}

// commit makes a layer of what a step wrote, beside the steps that follow.
type commit struct {
	builder *builder
	root    *root
	target  *target
	work    work
	took    time.Duration
}

// settleFor is how long a step waits for its own digests: most layers are small, and with its content known the next
// step can be looked up, and a layer without content left out.
const settleFor = 5 * time.Millisecond

func (c commit) settle() {
	timer := time.NewTimer(settleFor)
	defer timer.Stop()
	select {
	case <-c.root.sealed:
	case <-timer.C:
	}
}

func (c commit) run(ctx context.Context) (err error) {
	r, t, b := c.root, c.target, c.builder
	knownClosed := false
	defer func() {
		r.err = err
		if !knownClosed {
			close(r.known)
		}
		close(r.sealed)
	}()
	res, err := t.snap.Read(store.ReadOptions{Context: ctx, Clamp: b.req.SourceDate, ParentRoot: t.parentRoot})
	if err != nil {
		return errors.Join(err, t.snap.Remove())
	}
	if err := t.below.waitKnown(ctx); err != nil {
		return errors.Join(err, t.snap.Remove())
	}
	if r.content = t.below.content; !res.Empty {
		r.content = r.content.Above(res.Content)
	}
	close(r.known)
	knownClosed = true
	if err := t.below.wait(ctx); err != nil {
		return errors.Join(err, t.snap.Remove())
	}
	rec, err := c.seal(res)
	if err != nil {
		return err
	}
	return c.record(ctx, rec)
}

// seal puts the layer into the store, or takes the one that is there with the same content.
func (c commit) seal(res layer.Result) (cache.Record, error) {
	r, b := c.root, c.builder
	below := c.target.below
	r.layers, r.created = below.layers, below.created
	rec := cache.Record{Content: res.Content, Created: c.now(), Took: c.took, Step: c.target.step.Text}
	if res.Empty {
		// The directory may be part of the next step's mount already, so it goes at the end of the build.
		b.onClose(c.target.snap.Remove)
		return rec, nil
	}
	key := cache.NewKey("layer").Add("parent", below.top()).Add("content", res.Content.String()).Key()
	unlock, err := b.cache.Lock(key)
	if err != nil {
		return rec, errors.Join(err, c.target.snap.Remove())
	}
	defer unlock() //nolint:errcheck // closing a lock file
	if same := b.cache.Get(key); same != nil && same.Layer != nil && b.holds(same.Layer, below.top()) {
		b.onClose(c.target.snap.Remove)
		rec.Layer, rec.Created = same.Layer, same.Created
	} else {
		l, err := c.target.snap.Commit(below.top())
		if err != nil {
			return rec, err
		}
		rec.Layer = &cache.Layer{ID: l.ID, Parent: below.top(), DiffID: res.DiffID, Size: res.Size}
		if err := b.cache.Put(key, rec); err != nil {
			return rec, err
		}
	}
	r.own, r.created = rec.Layer, rec.Created
	r.layers = append(r.layers[:len(r.layers):len(r.layers)], *rec.Layer)
	return rec, nil
}

// record makes the step's result known to later builds, unless its inputs changed while it ran.
func (c commit) record(ctx context.Context, rec cache.Record) error {
	if c.work.stable != nil {
		stable, err := c.work.stable(ctx)
		if err != nil || !stable {
			return err
		}
	}
	for _, makeKey := range c.work.keys() {
		key, err := makeKey(ctx, c.target.below.content)
		if err != nil {
			return err
		}
		if err := c.builder.cache.Put(key, rec); err != nil {
			return err
		}
	}
	return c.builder.cache.MarkSeen(c.work.shape)
}

func (c commit) now() time.Time {
	now := time.Now().UTC()
	if d := c.builder.req.SourceDate; d != nil && d.Before(now) {
		return d.UTC()
	}
	return now
}

// view opens a read-only view of a root, to look at or to copy from. The caller calls release when done. The view of an
// empty root is nil.
func (b *builder) view(ctx context.Context, r *root) (dir *os.File, release func() error, err error) {
	nothing := func() error { return nil }
	if !b.store.Stages() {
		if err := r.wait(ctx); err != nil || r.top() == "" {
			return nil, nothing, err
		}
		path, unmount, err := b.store.View(r.top())
		if err != nil {
			return nil, nothing, err
		}
		if dir, err = openDir(path); err != nil {
			return nil, nothing, errors.Join(err, unmount())
		}
		return dir, func() error { return errors.Join(dir.Close(), unmount()) }, nil
	}
	dirs, err := b.stack(r)
	if err != nil || len(dirs) == 0 {
		return nil, nothing, err
	}
	if dir, err = b.mountView(dirs); err != nil {
		return nil, nothing, err
	}
	return dir, dir.Close, nil
}
