package rootfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

func TestMain(m *testing.M) {
	os.Exit(storetest.Main(m))
}

// drivers has a test done with each kind of driver.
func drivers(t *testing.T, test func(t *testing.T, b *roottest.Build)) {
	t.Helper()
	for name, in := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, roottest.New(t, in, rootfs.Options{}))
		})
	}
}

// overlay is the driver whose layers are renamed into place.
func overlay() store.Options { return storetest.Drivers()["overlay"] }

func TestStepsAddToWhatIsBelow(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		one, cached := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1", "d/b=2"))
		if got := b.List(t, one); got != "a=1 d/ d/b=2" || cached {
			t.Errorf("first: %s, cached %v", got, cached)
		}
		two, _ := b.Do(t, one, roottest.Files("two", "c->a"))
		if got := b.List(t, two); got != "a=1 c->a d/ d/b=2" {
			t.Errorf("second: %s", got)
		}
		if got := b.List(t, one); got != "a=1 d/ d/b=2" {
			t.Errorf("the first has become %s", got)
		}
		if len(two.Layers()) != 2 || two.Layers()[0].ID != one.Top() || two.Layers()[1].ID != two.Top() ||
			two.Own() == nil || two.Own().Parent != one.Top() || two.Below() != one || two.Base() != one.Base() {
			t.Errorf("layers %+v on %+v", two.Layers(), one.Layers())
		}
		if one.Content() == "" || two.Content() == one.Content() || two.Content() == "" {
			t.Errorf("content IDs %q, %q", one.Content(), two.Content())
		}
		if ran, cached := b.Counts(); ran != 2 || cached != 0 {
			t.Errorf("%d steps done, %d cached", ran, cached)
		}
	})
}

func TestAStepIsDoneOnceOnTheSameContent(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("below", "a=1"))
		step := roottest.Files("step", "b=2")
		made, _ := b.Do(t, below, step)
		next := b.Again(t, rootfs.Options{})
		again, cached := next.Do(t, below, step)
		if !cached || again.Top() != made.Top() || step.Ran.Load() != 1 || !again.Created().Equal(made.Created()) {
			t.Errorf("cached %v, done %d times; %v and %v", cached, step.Ran.Load(), made.Created(), again.Created())
		}
		if ran, hits := next.Counts(); ran != 0 || hits != 1 {
			t.Errorf("%d steps done, %d cached", ran, hits)
		}
		if _, cached := next.Do(t, rootfs.Scratch(), step); cached || step.Ran.Load() != 2 {
			t.Errorf("on other content: cached %v, done %d times", cached, step.Ran.Load())
		}
		if _, cached := b.Again(t, rootfs.Options{NoCache: true}).Do(t, below, step); cached || step.Ran.Load() != 3 {
			t.Errorf("without the cache: cached %v, done %d times", cached, step.Ran.Load())
		}
	})
}

// TestTheSameContentIsTheSameLayer has a step run again and give the same: what follows is found in the cache.
func TestTheSameContentIsTheSameLayer(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		old := time.Unix(1_000_000_000, 0)
		aged := func(age time.Duration) func(context.Context, *rootfs.Staged, string) error {
			return func(_ context.Context, _ *rootfs.Staged, dir string) error {
				return os.Chtimes(filepath.Join(dir, "a"), old.Add(age), old.Add(age))
			}
		}
		first, _ := b.Do(t, rootfs.Scratch(), &roottest.Step{Name: "x", Files: []string{"a=1"}, Then: aged(0)})
		second, cached := b.Again(t, rootfs.Options{}).Do(t, rootfs.Scratch(),
			&roottest.Step{Name: "y", Files: []string{"a=1"}, Then: aged(time.Hour)})
		if cached || second.Top() != first.Top() || !second.Created().Equal(first.Created()) ||
			second.Content() != first.Content() {
			t.Errorf("cached %v; layers %s and %s", cached, first.Top(), second.Top())
		}
	})
}

func TestAStepWithoutAChangeAddsNoLayer(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("below", "a=1"))
		none := roottest.Files("none")
		empty, _ := b.Do(t, below, none)
		if empty.Own() != nil || empty.Top() != below.Top() || empty.Content() != below.Content() ||
			!empty.Created().Equal(below.Created()) {
			t.Errorf("it added %+v", empty.Own())
		}
		if again, cached := b.Again(t, rootfs.Options{}).Do(t, below, none); !cached || again.Top() != below.Top() {
			t.Errorf("again: cached %v, %s", cached, again.Top())
		}
		after, _ := b.Do(t, empty, roottest.Files("after", "b=2"))
		if got := b.List(t, after); got != "a=1 b=2" || len(after.Layers()) != 2 {
			t.Errorf("after it: %s, %d layers", got, len(after.Layers()))
		}
	})
}

func TestAFailedStepLeavesNothing(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		boom := errors.New("boom")
		step := roottest.Files("step", "a=1")
		step.Then = func(context.Context, *rootfs.Staged, string) error { return boom }
		r, _, err := b.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), step)
		if !errors.Is(err, boom) || r != nil {
			t.Errorf("got %v, %v", r, err)
		}
		if ran, cached := b.Counts(); ran != 0 || cached != 0 {
			t.Errorf("a failed step counts: %d, %d", ran, cached)
		}
		step.Then = nil
		if _, cached := b.Do(t, rootfs.Scratch(), step); cached {
			t.Error("a failed step is in the cache")
		}
	})
}

// TestAPanicOfACommitEndsTheBuildAndNotTheProgram has those who wait for the root learn of it.
func TestAPanicOfACommitEndsTheBuildAndNotTheProgram(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		step := roottest.Files("step", "a=1")
		step.Then = func(_ context.Context, t *rootfs.Staged, _ string) error {
			t.Step = nil // which a commit asks for its text
			return nil
		}
		r, _, err := b.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), step)
		if err != nil {
			t.Fatal(err)
		}
		for name, err := range map[string]error{"layer": r.Wait(t.Context()), "content": r.WaitKnown(t.Context()),
			"build": b.Wait()} {
			if err == nil || !strings.Contains(err.Error(), "internal error in ") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if r.IsSealed() || len(b.Failed()) != 1 {
			t.Errorf("sealed %v, failures %v", r.IsSealed(), b.Failed())
		}
	})
}

func TestAStepWhoseInputsChangedIsNotRemembered(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		step := roottest.Files("step", "a=1")
		step.Changed = true
		b.Do(t, rootfs.Scratch(), step)
		step.Changed = false
		if _, cached := b.Again(t, rootfs.Options{}).Do(t, rootfs.Scratch(), step); cached || step.Ran.Load() != 2 {
			t.Errorf("cached %v, done %d times", cached, step.Ran.Load())
		}
	})
}

func TestAKeyThatCannotBeMadeIsTheErrorOfTheStep(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		step := roottest.Files("step", "a=1")
		b.Do(t, rootfs.Scratch(), step)
		step.KeyErr = errors.New("unreadable")
		if _, _, err := b.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), step); !errors.Is(err, step.KeyErr) {
			t.Errorf("got %v", err)
		}
		other := roottest.Files("other", "b=1")
		other.KeyErr = step.KeyErr // nothing is looked up, since it was never done; its record fails
		r, _, err := b.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), other)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Wait(); !errors.Is(err, step.KeyErr) || len(b.Failed()) != 1 {
			t.Errorf("got %v, told of %v", err, b.Failed())
		}
		if !r.IsSealed() {
			t.Error("what the step made is lost with its record")
		}
	})
}

func TestAStepGoesOnWhileTheOneBelowIsCommitted(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	var files []string // enough for the commit to be under way when the next step is done
	for i := range 300 {
		files = append(files, fmt.Sprintf("d/%d=%s", i, strings.Repeat("x", 20_000)))
	}
	below := rootfs.Scratch()
	var last *rootfs.Root
	for i := range 4 {
		r, _, err := b.Make(t.Context(), &plan.Step{}, below,
			roottest.Files(fmt.Sprint(i), append(files, fmt.Sprintf("n%d=", i))...))
		if err != nil {
			t.Fatal(err)
		}
		below, last = r, r
	}
	view, err := b.View(t.Context(), last, rootfs.NS{}) // before anything is sealed, perhaps
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d/n%d", view.Dir.Fd(), i)); err != nil {
			t.Error(err)
		}
	}
	if err := view.Release(); err != nil {
		t.Error(err)
	}
	if err := b.Wait(); err != nil {
		t.Fatal(err)
	}
	if !last.IsSealed() || len(last.Layers()) != 4 {
		t.Errorf("sealed %v, %d layers", last.IsSealed(), len(last.Layers()))
	}
}

func TestWhoWaitsForARootCanBeInterrupted(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		stopped := errors.New("stopped by the user")
		ctx, cancel := context.WithCancelCause(t.Context())
		step := roottest.Files("step", "a=1")
		step.Then = func(context.Context, *rootfs.Staged, string) error { cancel(stopped); return nil }
		r, _, err := b.Make(ctx, &plan.Step{}, rootfs.Scratch(), step)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(ctx); err == nil {
			t.Error("the layer of a stopped build is waited for")
		}
		if err := b.Wait(); !errors.Is(err, stopped) {
			t.Errorf("the build ends with %v", err)
		}
		if r.IsSealed() {
			t.Error("it has a layer")
		}
	})
}

// TestTwoBuildsThatMakeTheSameEndUpWithOneLayer has them run at once.
func TestTwoBuildsThatMakeTheSameEndUpWithOneLayer(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		var group sync.WaitGroup
		var mu sync.Mutex
		tops := map[string]time.Time{}
		for i := range 4 {
			other := b.Again(t, rootfs.Options{NoCache: true})
			group.Go(func() {
				r, _, err := other.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), roottest.Files(fmt.Sprint(i), "a=1"))
				if err == nil {
					err = r.Wait(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if made, ok := tops[r.Top()]; ok && !made.Equal(r.Created()) {
					t.Errorf("one layer was made at %v and %v", made, r.Created())
				}
				tops[r.Top()] = r.Created()
			})
		}
		group.Wait()
		if len(tops) != 1 {
			t.Errorf("layers %v", tops)
		}
	})
}

func TestTimesAreLimitedByTheSourceDate(t *testing.T) {
	t.Parallel()
	date := time.Unix(1_000_000_000, 0)
	b := roottest.New(t, overlay(), rootfs.Options{Date: &layer.Date{Time: date}})
	r, _ := b.Do(t, rootfs.Scratch(), roottest.Files("step", "a=1"))
	if !r.Created().Equal(date) {
		t.Errorf("made at %v", r.Created())
	}
	without, _ := b.Again(t, rootfs.Options{}).Do(t, rootfs.Scratch(), roottest.Files("other", "a=1"))
	if without.Top() == r.Top() {
		t.Error("a layer with other times was taken for this one")
	}
	if b.NewKey("x").Key() == b.Again(t, rootfs.Options{}).NewKey("x").Key() {
		t.Error("keys don't tell the date")
	}
	exact := layer.Date{Time: date, Exact: true}
	if same, _ := b.Again(t, rootfs.Options{Date: &exact}).Do(t, rootfs.Scratch(),
		roottest.Files("step", "a=1")); same.Top() != r.Top() || !same.Created().Equal(date) {
		t.Errorf("all files are younger than the date, and with that time for all of them the layer is another one, made %v",
			same.Created())
	}
	if b.NewKey("x").Key() == b.Again(t, rootfs.Options{Date: &exact}).NewKey("x").Key() {
		t.Error("keys don't tell whether all times are replaced")
	}
	future := time.Now().Add(time.Hour)
	late, _ := b.Again(t, rootfs.Options{Date: &layer.Date{Time: future}}).Do(t, rootfs.Scratch(),
		roottest.Files("late", "b=1"))
	if !late.Created().Before(future) {
		t.Errorf("made at %v, in the future", late.Created())
	}
}

func TestALayerThatTheStoreHasLostIsMadeAnew(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	step := roottest.Files("step", "a=1")
	r, _ := b.Do(t, rootfs.Scratch(), step)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	rec := roottest.Files("step")
	key, err := rec.Keys()[0](t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	found := b.Cache.Get(key)
	if found == nil || found.Layer == nil || found.Layer.ID != r.Top() {
		t.Fatalf("the record is %+v", found)
	}
	for name, change := range map[string]func(){
		"another parent":  func() { found.Layer.Parent = "x" },
		"another digest":  func() { found.Layer.DiffID = "sha256:0" },
		"not in the list": func() { found.Layer.ID = strings.Repeat("0", 64) },
	} {
		t.Run(name, func(t *testing.T) {
			kept := *found.Layer
			change()
			if err := b.Cache.Put(key, *found); err != nil {
				t.Fatal(err)
			}
			*found.Layer = kept
			before := step.Ran.Load()
			again, cached := b.Again(t, rootfs.Options{}).Do(t, rootfs.Scratch(), step)
			if cached || step.Ran.Load() != before+1 || again.Top() != r.Top() {
				t.Errorf("cached %v, done %d times", cached, step.Ran.Load()-before)
			}
		})
	}
}
