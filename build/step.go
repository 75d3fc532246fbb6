package build

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/fileop"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/userns"
)

// work is how one step makes its layer.
type work struct {
	// shape is the key of all that is known before the step below has its content ID.
	shape cache.Key
	// key adds that ID and the content of the step's other inputs. It may take long.
	key func(ctx context.Context, below cache.ContentID) (cache.Key, error)
	// content is a second key for the same result that costs more to make and stays the same for longer: it names the
	// files a step takes from another stage instead of that whole stage. It may be nil.
	content func(ctx context.Context, below cache.ContentID) (cache.Key, error)
	// exec does the step in the snapshot.
	exec func(ctx context.Context, t *target) error
	// stable tells whether the inputs stayed as they were while the step was done; nil: they can't change.
	stable func(ctx context.Context) (bool, error)
	// linked says that the layer doesn't depend on what is below, and that the keys don't either.
	linked bool
	// largeFile, if not nil, is told the digests of the large files in the layer; see layer.Options.
	largeFile func(name string, sum [32]byte)
}

// target is where a step writes to, and what it sees below.
type target struct {
	step  *plan.Step
	below *root
	snap  store.Snapshot
	// parentRoot are the attributes of the root directory below.
	parentRoot *layer.RootAttr
	// wrote is the root's.
	wrote userns.IDs
}

// wroteFor notes who owns what was written.
func (t *target) wroteFor(owners ...fileop.Owner) {
	for _, o := range owners {
		t.wrote.UIDs, t.wrote.GIDs = append(t.wrote.UIDs, o.UID), append(t.wrote.GIDs, o.GID)
	}
}

// do carries out one step of the plan.
func (b *builder) do(ctx context.Context, s *plan.Step, done func(*plan.Step) *root) (*root, error) {
	var below *root
	if s.Parent != nil {
		below = done(s.Parent)
	}
	var w work
	switch op := s.Op.(type) {
	case *plan.Config:
		return below, nil
	case *plan.Base:
		return b.base(s, op), nil
	case *plan.Workdir:
		w = b.workdirWork(op)
	case *plan.Copy:
		w = b.copyWork(s, op, done)
	case *plan.Run:
		w = b.runWork(s, op, done)
	default:
		return nil, fmt.Errorf("step %d: no way to carry out a %T", s.ID, op)
	}
	b.req.Progress.Emit(progress.StepStarted{ID: s.ID, Name: b.stepName(s), Text: s.Text})
	var r *root
	cached := false
	err := b.contexts.Open(ctx, stepInputs(s))
	if err == nil {
		r, cached, err = b.makeLayer(ctx, s, below, w)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx) // it says more than what came of the step
		} else {
			err = stepError(b.store, s, b.explainUnmapped(ctx, err))
		}
	}
	b.req.Progress.Emit(progress.StepDone{ID: s.ID, Cached: cached, Err: shownError(ctx, err)})
	return r, err
}

// stepInputs is where a step takes files from.
func stepInputs(s *plan.Step) (from []plan.Input) {
	switch op := s.Op.(type) {
	case *plan.Copy:
		from = append(from, op.From)
	case *plan.Run:
		for _, m := range op.Mounts {
			from = append(from, m.From)
		}
	}
	return from
}

// shownError is what is shown of an error where it came up: that of a step without its place, and of one that was stopped for something
// else, as by another's failure or by a signal, only that it was.
func shownError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil || lost(err) { // what is lost is made again
		return context.Canceled
	}
	if e := new(StepError); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// stepName places a step for people: "[builder 2/5]", "[stage-1 2/5]", or "[2/5]" where there is one stage only.
// In a build for several platforms what the step is for comes first.
func (b *builder) stepName(s *plan.Step) string {
	var words []string
	if s.Platforms != "" {
		words = append(words, s.Platforms)
	}
	switch {
	case s.Stage.Index < 0:
		if len(words) == 0 {
			return ""
		}
		return "[" + words[0] + "]"
	case s.Stage.Name != strconv.Itoa(s.Stage.Index):
		words = append(words, s.Stage.Name)
	case b.stages > 1:
		words = append(words, "stage-"+s.Stage.Name)
	}
	return "[" + strings.Join(append(words, fmt.Sprintf("%d/%d", s.Number, s.Total)), " ") + "]"
}

func stepError(st *store.Store, s *plan.Step, err error) error {
	if other := new(StepError); errors.As(err, &other) || errors.Is(err, context.Canceled) {
		return err // another step's failure, for which this one was cancelled
	}
	err = machineError(st, err)
	e := &StepError{Platforms: s.Platforms, Stage: s.Stage.Name, Step: fmt.Sprintf("%d/%d", s.Number, s.Total), Location: s.Location, Text: s.Text, Err: err}
	if exit := new(ExitError); errors.As(err, &exit) {
		e.ExitCode = exit.Code
	}
	return e
}

// base is the root of an image or of scratch.
func (b *builder) base(s *plan.Step, op *plan.Base) *root {
	if op.Ref == "" {
		return sealedRoot(nil, "", nil, time.Time{})
	}
	img := b.resolver.found[op.Image.ID]
	var layers []cache.Layer
	for _, l := range img.Layers {
		layers = append(layers, cache.Layer{ID: l.ID, Parent: l.Parent, DiffID: l.DiffID, Size: l.Size})
		b.noteOwners(l)
	}
	var created time.Time
	if img.Image.Created != nil {
		created = *img.Image.Created
	}
	b.req.Progress.Emit(progress.StepStarted{ID: s.ID, Name: b.stepName(s), Text: s.Text})
	b.req.Progress.Emit(progress.StepDone{ID: s.ID, Cached: true, Reason: "in the store"})
	return sealedRoot(nil, cache.ImageContentID(img.Image.DiffIDs), layers, created)
}

// makeLayer takes a step's layer from the cache or does the step. The root it returns may still be waiting for its
// commit.
func (b *builder) makeLayer(ctx context.Context, s *plan.Step, below *root, w work) (r *root, cached bool, err error) {
	if b.store.Stages() {
		if below, err = b.limitDepth(ctx, below); err != nil {
			return nil, false, err
		}
	}
	if !b.req.NoCache && b.cache.Seen(w.shape) {
		if r, err = b.lookUp(ctx, below, w); r != nil || err != nil {
			b.count(r != nil)
			return r, r != nil, err
		}
	}
	t, err := b.prepare(ctx, s, below, w.linked)
	if err != nil {
		return nil, false, err
	}
	b.req.space.Check() // it may write to a cache mount, even if it fails
	started := time.Now()
	if err := w.exec(ctx, t); err != nil {
		err = b.explainFull(b.explainGone(t.below, err))
		return nil, false, errors.Join(err, t.snap.Remove())
	}
	b.count(false)
	r, err = b.newRoot(t)
	if err != nil {
		return nil, false, errors.Join(err, t.snap.Remove())
	}
	c := commit{builder: b, root: r, target: t, work: w, took: time.Since(started)}
	b.commits.Go(func() error {
		err := guard.Call(func() error { return c.run(ctx) })
		if err != nil {
			err = stepError(b.store, s, err)
			b.stop(err)
		}
		return err
	})
	return r, false, c.settle()
}

func (b *builder) count(cached bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cached {
		b.cached++
	} else {
		b.ran++
	}
}

// lookUp returns the root that the cache has for the step, nil if it has none.
func (b *builder) lookUp(ctx context.Context, below *root, w work) (*root, error) {
	if err := below.wait(ctx); err != nil {
		return nil, err
	}
	for _, makeKey := range w.keys() {
		key, err := makeKey(ctx, below.content)
		if err != nil {
			return nil, err
		}
		if w.linked {
			if r, err := b.lookUpLinked(ctx, below, key); r != nil || err != nil {
				return r, err
			}
			continue
		}
		if rec := b.cache.Get(key); rec != nil {
			if r := b.fromRecord(below, rec); r != nil {
				return r, nil
			}
		}
	}
	return nil, nil //nolint:nilnil // no root is an answer
}

func (w work) keys() []func(context.Context, cache.ContentID) (cache.Key, error) {
	if w.content == nil {
		return []func(context.Context, cache.ContentID) (cache.Key, error){w.key}
	}
	return []func(context.Context, cache.ContentID) (cache.Key, error){w.key, w.content}
}

// fromRecord makes the root a record describes on top of a sealed one, nil if the store no longer has what it needs.
func (b *builder) fromRecord(below *root, rec *cache.Record) *root {
	if rec.Layer == nil {
		return below
	}
	if !b.holds(rec.Layer, below.top()) {
		return nil
	}
	layers := append(below.layers[:len(below.layers):len(below.layers)], *rec.Layer)
	r := sealedRoot(below, below.content.Above(rec.Content), layers, rec.Created)
	r.own = rec.Layer
	return r
}

// holds tells whether the store has the layer on top of this parent, and keeps it for this build. A layer whose ID isn't the one that any
// tool would give it, as earlier versions made them, counts as none: an image with it could not be pulled again.
func (b *builder) holds(l *cache.Layer, parent string) bool {
	if l.Parent != parent || l.DiffID.Validate() != nil || l.ID != store.LayerID(parent, l.DiffID) {
		return false
	}
	have, ok := b.store.UseLayer(l.ID, parent)
	if ok {
		b.noteOwners(have)
	}
	return ok
}
