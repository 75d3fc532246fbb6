package rootfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
)

func TestManyStepsStandOnOneRoot(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		below, _, err := b.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), roottest.Files("below", "a=1"))
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for i := range 6 {
			group.Go(func() {
				step := roottest.Files(fmt.Sprint(i), fmt.Sprintf("n=%d", i))
				if i%3 == 0 {
					step.Files = nil // the directory goes to another one
				}
				r, _, err := b.Make(t.Context(), &plan.Step{}, below, step)
				if err == nil {
					err = r.Wait(t.Context())
				}
				if err != nil {
					t.Error(err)
					return
				}
				want := "a=1"
				if i%3 != 0 {
					want += fmt.Sprint(" n=", i)
				}
				if got := b.List(t, r); got != want {
					t.Errorf("%d: %s", i, got)
				}
			})
		}
		group.Wait()
		if ran, cached := b.Counts(); ran != 7 || cached != 0 {
			t.Errorf("%d steps done, %d cached", ran, cached)
		}
	})
}

// TestAStepThatFollowsEmptyOnesHasOnlyItsOwn gets a directory that one of them has left.
func TestAStepThatFollowsEmptyOnesHasOnlyItsOwn(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("below", "a=1"))
	for i := range 5 {
		b.Do(t, below, roottest.Files(fmt.Sprint("empty", i)))
	}
	r, _ := b.Do(t, rootfs.Scratch(), roottest.Files("last", "b=2"))
	if got := b.List(t, r); got != "b=2" || len(r.Layers()) != 1 {
		t.Errorf("it made %s", got)
	}
}

func TestMountPointsThatImagesLackAreKeptInOnePlace(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	var stubs []string
	for i := range 2 {
		b.Do(t, rootfs.Scratch(), inRun(b, fmt.Sprint(i), rootfs.NS{}, func(root executor.Rootfs) (status executor.Status,
			err error) {
			stubs = append(stubs, root.Stubs.Name())
			return status, nil
		}))
	}
	if len(stubs) != 2 || stubs[0] != stubs[1] {
		t.Errorf("they lie in %v", stubs)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stubs[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("they are left behind: %v", err)
	}
}

// TestALayerThatWasReplacedIsMissed has another directory of the layer's name.
func TestALayerThatWasReplacedIsMissed(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	made, _ := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
	next := b.Again(t, rootfs.Options{})
	r, cached := next.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
	if !cached || next.List(t, r) != "a=1" {
		t.Fatalf("cached %v", cached)
	}
	dir, err := b.Depot.Store.DiffDir(made.Top())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(dir, dir+".gone"), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	failing := roottest.Files("two")
	failing.Then = func(context.Context, *rootfs.Staged, string) error { return unix.ESTALE }
	_, _, err = next.Make(t.Context(), &plan.Step{}, r, failing)
	gone := new(rootfs.GoneError)
	if !errors.As(err, &gone) || gone.Layer != made.Top() || !errors.Is(err, unix.ESTALE) {
		t.Errorf("got %v", err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".gone", dir), next.CheckStill(r)); err != nil {
		t.Errorf("in its place again: %v", err)
	}
}

func TestALookUpEndsWithTheBuild(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		step := roottest.Files("step", "b=1")
		below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("below", "a=1"))
		b.Do(t, below, step)
		stopped := errors.New("stopped by the user")
		ctx, cancel := context.WithCancelCause(t.Context())
		next := b.Again(t, rootfs.Options{NoCache: true})
		slow := roottest.Files("slow", "c=1")
		slow.Then = func(context.Context, *rootfs.Staged, string) error { cancel(stopped); return nil }
		r, _, err := next.Make(ctx, &plan.Step{}, below, slow)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Again(t, rootfs.Options{}).Make(ctx, &plan.Step{}, r, step); !errors.Is(err, stopped) {
			t.Errorf("got %v", err)
		}
		if err := next.Wait(); !errors.Is(err, stopped) {
			t.Errorf("the commit ends with %v", err)
		}
	})
}

// TestAsRootTheKernelMapsOwnersWhereItCan has real root build with a map: the file system decides how.
func TestAsRootTheKernelMapsOwnersWhereItCan(t *testing.T) {
	t.Parallel()
	m := mapping(100_000, 1000)
	for name, isAsked := range map[string]bool{"asked": true, "usual": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := roottest.New(t, overlay(), rootfs.Options{Identity: rootfs.Identity{
				StepNS: rootfs.StepNS{Steps: m, Asked: isAsked}}})
			below, _ := b.Do(t, rootfs.Scratch(), owned("f", 7, 8))
			ns, err := namespace(t, b, below, rootfs.Need{})
			if err != nil {
				t.Fatal(err)
			}
			told := strings.Contains(b.Shown.Text(), "RUN steps get no user namespace of their own")
			if (ns.Mapping == nil) != told || told && isAsked || ns.Shifted && !isAsked {
				t.Fatalf("got %+v; told %v", ns, told)
			}
			want := "100007:100008 644"
			if ns.Mapping == nil {
				want = "7:8 644"
			}
			view, err := b.View(t.Context(), below, ns)
			if err != nil {
				t.Fatal(err)
			}
			if got := stat(t, at(view.Dir, "f")); got != want {
				t.Errorf("a step sees %s", got)
			}
			if err := view.Release(); err != nil {
				t.Error(err)
			}
		})
	}
}
