package rootfs_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder"
)

// foundImage is an image of one layer.
func foundImage(l store.Layer) images.Found {
	return images.Found{Base: imagebuilder.Base{Image: imagebuilder.Image{DiffIDs: []digest.Digest{l.DiffID}}},
		Layers: []store.Layer{l}}
}

// linked is a step that makes the same layer whatever is below.
func linked(name string, files ...string) *roottest.Step {
	step := roottest.Files(name, files...)
	step.Linked = true
	return step
}

func TestALinkedLayerIsPutOnWhateverIsBelow(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		step := linked("link", "l/f=1", "l/link->f")
		one, _ := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
		two, _ := b.Do(t, rootfs.Scratch(), roottest.Files("two", "b=2"))
		first, cached := b.Do(t, one, step)
		if got := b.List(t, first); got != "a=1 l/ l/f=1 l/link->f" || cached {
			t.Errorf("first: %s, cached %v", got, cached)
		}
		next := b.Again(t, rootfs.Options{})
		second, cached := next.Do(t, two, step)
		if got := next.List(t, second); got != "b=2 l/ l/f=1 l/link->f" || !cached || step.Ran.Load() != 1 {
			t.Errorf("second: %s, cached %v, done %d times", got, cached, step.Ran.Load())
		}
		if first.Own().DiffID != second.Own().DiffID || first.Own().ID == second.Own().ID ||
			second.Own().Parent != two.Top() || !first.Created().Equal(second.Created()) {
			t.Errorf("%+v and %+v", first.Own(), second.Own())
		}
		last := b.Again(t, rootfs.Options{})
		if third, cached := last.Do(t, two, step); !cached || third.Top() != second.Top() {
			t.Errorf("third: %s, cached %v", third.Top(), cached)
		}
		if scratch, cached := last.Do(t, rootfs.Scratch(), step); !cached || last.List(t, scratch) != "l/ l/f=1 l/link->f" {
			t.Errorf("on nothing: cached %v", cached)
		}
	})
}

func TestALinkedLayerThatIsGoneIsMadeAnew(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		step := linked("link", "l=1")
		one, _ := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
		first, _ := b.Do(t, rootfs.Scratch(), step)
		if err := b.Depot.Store.RemoveLayer(first.Top()); err != nil {
			t.Fatal(err)
		}
		next := b.Again(t, rootfs.Options{})
		r, cached := next.Do(t, one, step)
		if got := next.List(t, r); got != "a=1 l=1" || cached || step.Ran.Load() != 2 {
			t.Errorf("%s, cached %v, done %d times", got, cached, step.Ran.Load())
		}
	})
}

// TestManyPutALinkedLayerOnOneAtOnce has builds find the same layer in the cache, and not on what is below.
func TestManyPutALinkedLayerOnOneAtOnce(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		step := linked("link", "l=1")
		one, _ := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
		b.Do(t, rootfs.Scratch(), step)
		var group sync.WaitGroup
		tops := make([]string, 4)
		for i := range tops {
			other := b.Again(t, rootfs.Options{})
			group.Go(func() {
				r, cached, err := other.Make(t.Context(), &plan.Step{}, one, step)
				if err != nil || !cached {
					t.Errorf("cached %v, %v", cached, err)
					return
				}
				tops[i] = r.Top()
			})
		}
		group.Wait()
		if tops[0] == "" || strings.Count(strings.Join(tops, " "), tops[0]) != len(tops) {
			t.Errorf("layers %v", tops)
		}
	})
}

// TestTooManyLayersBecomeOne makes an image of more layers than one may have.
func TestTooManyLayersBecomeOne(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	build := func(b *roottest.Build) (r *rootfs.Root, merged int) {
		r = rootfs.Scratch()
		for i := range 125 {
			next, _, err := b.Make(t.Context(), &plan.Step{}, r, roottest.Files(fmt.Sprint(i), fmt.Sprintf("d/f%03d=%d", i, i)))
			if err != nil {
				t.Fatal(err)
			}
			r = next
		}
		if err := b.Wait(); err != nil {
			t.Fatal(err)
		}
		for at := r; at != nil; at = at.Below() {
			if at.Merged() {
				merged++
				if len(at.Layers()) != 1 || len(at.Below().Layers()) < 100 || at.Content() != at.Below().Content() {
					t.Errorf("%d layers were merged into %d", len(at.Below().Layers()), len(at.Layers()))
				}
			}
		}
		return r, merged
	}
	r, merged := build(b)
	if merged != 1 || len(r.Layers()) > 20 {
		t.Errorf("%d layers, %d times merged", len(r.Layers()), merged)
	}
	if got := b.List(t, r); strings.Count(got, "d/f") != 125 || !strings.HasPrefix(got, "d/ d/f000=0 d/f001=1") {
		t.Errorf("it has %s", got)
	}
	next := b.Again(t, rootfs.Options{})
	if again, _ := build(next); again.Top() != r.Top() {
		t.Error("the next build has other layers")
	}
	if ran, cached := next.Counts(); ran != 0 || cached != 125 {
		t.Errorf("%d steps done, %d cached", ran, cached)
	}
}
