package rootfs_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
)

func TestLayersOfASharedCacheComeWhenTheyAreNeeded(t *testing.T) {
	t.Parallel()
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		for name, need := range needs() {
			b := c.asks(t, in, rootfs.Options{})
			before := c.comings()
			r, cached := chain(t, b)
			if cached != 2 || r.IsPresent() || b.Depot.Store.HasLayer(r.Top()) || c.comings() != before ||
				r.Own() == nil || r.Own().Parent != r.Layers()[0].ID || r.Created().IsZero() {
				t.Fatalf("%s: %d cached; it is there before anybody needs it: %v; %+v", name, cached, r.IsPresent(), r.Own())
			}
			if err := need(t.Context(), b, r); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if !r.IsPresent() || !r.Below().IsPresent() || !b.Depot.Store.HasLayer(r.Top()) || c.comings() != before+1 {
				t.Errorf("%s: there: %v and %v, after %d calls", name, r.IsPresent(), r.Below().IsPresent(), c.comings()-before)
			}
			if got := b.List(t, r); got != "a=1 b=2" || c.comings() != before+1 {
				t.Errorf("%s: it has %s, after %d calls", name, got, c.comings()-before)
			}
			again, cached := chain(t, b.Again(t, rootfs.Options{})) // without the shared cache
			if cached != 2 || again.Top() != r.Top() || !again.IsPresent() || !again.Created().Equal(r.Created()) {
				t.Errorf("%s: later %d are cached, with %s", name, cached, again.Top())
			}
		}
	})
}

func TestALayerThatASharedCacheHasLostIsLost(t *testing.T) {
	t.Parallel()
	boom := errors.New("no such blob")
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		b := c.asks(t, in, rootfs.Options{})
		r, _ := chain(t, b)
		for name, need := range needs() {
			c.instead = func(context.Context) error { return boom }
			err := need(t.Context(), b, r)
			if broken := new(rootfs.BrokenCacheError); !errors.As(err, &broken) || !errors.Is(err, boom) || !rootfs.Lost(err) ||
				broken.Error() != "fetch layers from the cache: no such blob" {
				t.Errorf("%s: %v", name, err)
			}
			c.instead = func(context.Context) error { return nil } // it says so, but nothing came
			if err := need(t.Context(), b, r); !errors.Is(err, store.ErrNoLayer) || !rootfs.Lost(err) {
				t.Errorf("%s: of nothing %v", name, err)
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			stopped := errors.New("stopped by the user")
			c.instead = func(ctx context.Context) error { cancel(stopped); return ctx.Err() }
			if err := need(ctx, b, r); !errors.Is(err, stopped) || rootfs.Lost(err) {
				t.Errorf("%s: when it is stopped %v", name, err)
			}
			if r.IsPresent() || b.Depot.Store.HasLayer(r.Layers()[0].ID) {
				t.Errorf("%s: it counts as there", name)
			}
		}
		if _, cached := chain(t, b.Again(t, rootfs.Options{})); cached != 0 {
			t.Errorf("%d records name layers that never came", cached)
		}
	})
}

func TestManyWaitForOneComing(t *testing.T) {
	t.Parallel()
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		b := c.asks(t, in, rootfs.Options{})
		r, _ := chain(t, b)
		inside, goOn := make(chan struct{}), make(chan struct{})
		c.instead = func(ctx context.Context) error {
			c.mu.Lock()
			c.instead = nil
			c.mu.Unlock()
			close(inside)
			<-goOn
			return c.Bring(ctx, r.Layers())
		}
		var group sync.WaitGroup
		ask := func() {
			if err := b.Bring(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
		group.Go(ask)
		<-inside
		stopped := errors.New("stopped by the user")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(stopped)
		if err := b.Bring(ctx, r); !errors.Is(err, stopped) || rootfs.Lost(err) {
			t.Errorf("who waits for another's coming is not to be stopped: %v", err)
		}
		for range 3 {
			group.Go(ask)
		}
		close(goOn)
		group.Wait()
		if c.comings() != 2 || !r.IsPresent() { // one of them is the test's own
			t.Errorf("layers came %d times", c.comings())
		}
	})
}

// TestALayerThatIsThereNeedNotCome has the store get the layer of a step under another name.
func TestALayerThatIsThereNeedNotCome(t *testing.T) {
	t.Parallel()
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		first := c.asks(t, in, rootfs.Options{})
		r, _ := chain(t, first)
		if err := first.Bring(t.Context(), r.Below()); err != nil {
			t.Fatal(err)
		}
		if r.IsPresent() || !r.Below().IsPresent() {
			t.Error("all came, though only what is below was needed")
		}
		next, cached := first.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
		if !cached || !next.IsPresent() {
			t.Errorf("cached %v", cached)
		}
		if err := c.near.Cache.Put(mustKey(t, "one", ""), cache.Record{}); err != nil { // its record is lost
			t.Fatal(err)
		}
		c.instead = func(context.Context) error { return errors.New("asked for what is there") }
		if next, cached = first.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1")); !cached || !next.IsPresent() {
			t.Errorf("after its record was lost: cached %v", cached)
		}
		if rec := first.Cache.Get(mustKey(t, "one", "")); rec == nil || rec.Layer == nil || rec.Layer.ID != next.Top() {
			t.Errorf("its record has not come back: %+v", rec)
		}
	})
}

func TestAStepWithoutAChangeIsSharedWithoutALayer(t *testing.T) {
	t.Parallel()
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		below, _ := chain(t, c.far)
		c.far.Do(t, below, roottest.Files("nothing"))
		b := c.asks(t, in, rootfs.Options{})
		r, _ := chain(t, b)
		empty, cached := b.Do(t, r, roottest.Files("nothing"))
		if !cached || empty.Top() != r.Top() || empty.IsPresent() || c.comings() != 0 {
			t.Errorf("cached %v, %s on %s, %d came", cached, empty.Top(), r.Top(), c.comings())
		}
		if rec := b.Cache.Get(mustKey(t, "nothing", r.Content())); rec == nil || rec.Layer != nil {
			t.Errorf("its record is %+v", rec)
		}
	})
}

func TestAnOldResultIsMadeAnew(t *testing.T) {
	t.Parallel()
	c := newRemote(t, overlay())
	chain(t, c.far)
	for name, test := range map[string]struct {
		age, ttl time.Duration
		cached   int
	}{
		"any age will do": {1000 * time.Hour, 0, 2},
		"young":           {0, time.Hour, 2},
		"old":             {2 * time.Hour, time.Hour, 0},
	} {
		t.Run("shared/"+name, func(t *testing.T) {
			c.change = func(rec *cache.Record) { rec.Created = rec.Created.Add(-test.age) }
			if _, cached := chain(t, c.asks(t, overlay(), rootfs.Options{TTL: test.ttl})); cached != test.cached {
				t.Errorf("%d cached", cached)
			}
		})
		t.Run("own/"+name, func(t *testing.T) {
			b := roottest.New(t, overlay(), rootfs.Options{})
			r, _ := chain(t, b)
			for _, key := range []cache.Key{mustKey(t, "one", ""), mustKey(t, "two", r.Below().Content())} {
				rec := b.Cache.Get(key)
				rec.Created = rec.Created.Add(-test.age)
				if err := b.Cache.Put(key, *rec); err != nil {
					t.Fatal(err)
				}
			}
			if _, cached := chain(t, b.Again(t, rootfs.Options{TTL: test.ttl})); cached != test.cached {
				t.Errorf("%d cached", cached)
			}
		})
	}
}

func TestOnlyABuildWithACacheAsksOthers(t *testing.T) {
	t.Parallel()
	c := newRemote(t, overlay())
	chain(t, c.far)
	b := c.asks(t, overlay(), rootfs.Options{NoCache: true})
	if _, cached := chain(t, b); cached != 0 || c.asked != 0 {
		t.Errorf("%d cached, asked %d times", cached, c.asked)
	}
	again := b.Again(t, rootfs.Options{Shared: c})
	asked := c.asked
	if _, cached := chain(t, again); cached != 2 || c.asked != asked || c.comings() != 0 {
		t.Errorf("for what the store has, others are asked %d times", c.asked-asked)
	}
	if _, _, err := again.Make(t.Context(), &plan.Step{Fresh: true}, rootfs.Scratch(),
		roottest.Files("one", "a=1")); err != nil || c.asked != asked {
		t.Errorf("for a step that is to be done: %v, asked %d times", err, c.asked-asked)
	}
}

// TestALinkedLayerOfAnotherMachineIsPutOnWhateverIsBelow has it there on something else.
func TestALinkedLayerOfAnotherMachineIsPutOnWhateverIsBelow(t *testing.T) {
	t.Parallel()
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		step := linked("link", "l=1")
		made, _ := c.far.Do(t, rootfs.Scratch(), step)
		b := c.asks(t, in, rootfs.Options{})
		below, _ := chain(t, b)
		r, cached := b.Do(t, below, step)
		if !cached || r.IsPresent() || r.Own().DiffID != made.Own().DiffID || r.Own().Parent != below.Top() {
			t.Fatalf("cached %v, there %v: %+v", cached, r.IsPresent(), r.Own())
		}
		there, _ := chain(t, c.far)
		c.far.Do(t, there, step) // the archives of this cache are those of layers with the same IDs
		if got := b.List(t, r); got != "a=1 b=2 l=1" || step.Ran.Load() != 1 {
			t.Errorf("it has %s, made %d times", got, step.Ran.Load())
		}
	})
}

// TestALayerIsNotLinkedToWhatIsStillToCome has the linked layer in the store, and what it is put on elsewhere.
func TestALayerIsNotLinkedToWhatIsStillToCome(t *testing.T) {
	t.Parallel()
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		step := linked("link", "l=1")
		b := c.asks(t, in, rootfs.Options{})
		b.Do(t, rootfs.Scratch(), step)
		below, _ := chain(t, b)
		c.instead = func(context.Context) error { return io.ErrUnexpectedEOF }
		if _, _, err := b.Make(t.Context(), &plan.Step{}, below, step); !errors.As(err, new(*rootfs.BrokenCacheError)) {
			t.Errorf("got %v", err)
		}
		c.instead = nil
		r, cached := b.Do(t, below, step)
		if got := b.List(t, r); !cached || !below.IsPresent() || got != "a=1 b=2 l=1" || step.Ran.Load() != 1 {
			t.Errorf("cached %v, made %d times: %s", cached, step.Ran.Load(), got)
		}
	})
}

func TestTooManyLayersComeBeforeTheyAreMerged(t *testing.T) {
	t.Parallel()
	p := &promises{err: errors.New("gone")}
	b := roottest.New(t, overlay(), rootfs.Options{Shared: p})
	r, step := rootfs.Scratch(), roottest.Files("step")
	for i := range 120 {
		next, cached, err := b.Make(t.Context(), &plan.Step{}, r, step)
		if err != nil || !cached || len(next.Layers()) != i+1 || p.wanted != 0 {
			t.Fatalf("step %d: cached %v, %d are wanted, %v", i, cached, p.wanted, err)
		}
		r = next
	}
	if _, _, err := b.Make(t.Context(), &plan.Step{}, r, step); !errors.Is(err, p.err) || !rootfs.Lost(err) ||
		p.wanted != 120 {
		t.Errorf("%d layers are wanted: %v", p.wanted, err)
	}
	if step.Ran.Load() != 0 {
		t.Errorf("a step was done %d times", step.Ran.Load())
	}
}

func TestWhatTheCacheHasIsNoted(t *testing.T) {
	t.Parallel()
	sharing(t, func(t *testing.T, in store.Options, c *remote) {
		var mu sync.Mutex
		var got []cache.Key
		take := func() []cache.Key {
			mu.Lock()
			defer mu.Unlock()
			all := got
			got = nil
			return all
		}
		o := rootfs.Options{Noted: func(s *plan.Step, shape, key cache.Key) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, key)
			if name := s.Text; name != "RUN x" || shape.Validate() != nil {
				t.Errorf("step %q of shape %q", name, shape)
			}
		}}
		b := c.asks(t, in, o)
		r, _ := chain(t, b)
		want := []cache.Key{mustKey(t, "one", ""), mustKey(t, "two", r.Below().Content())}
		if keys := take(); len(keys) != 2 || keys[0] != want[0] || keys[1] != want[1] {
			t.Errorf("of a shared cache: %v", keys)
		}
		b.Do(t, r, roottest.Files("three", "c=3"))
		if keys := take(); len(keys) != 1 || keys[0] != mustKey(t, "three", r.Content()) {
			t.Errorf("of a step that was done: %v", keys)
		}
		b.Do(t, r, roottest.Files("three", "c=3"))
		if keys := take(); len(keys) != 1 {
			t.Errorf("of a step that was cached: %v", keys)
		}
		changed := roottest.Files("changed", "d=4")
		changed.Changed = true
		b.Do(t, r, changed)
		failed := roottest.Files("failed")
		failed.Then = func(context.Context, *rootfs.Staged, string) error { return io.ErrUnexpectedEOF }
		if _, _, err := b.Make(t.Context(), &plan.Step{Text: "RUN x"}, r, failed); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
		if keys := take(); len(keys) != 0 {
			t.Errorf("of steps that nothing was recorded of: %v", keys)
		}
	})
}
