package rootfs_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/plan"
)

func awaited(name string) *roottest.Step {
	s := roottest.Files(name, "a=1")
	s.Awaited = true
	return s
}

// atOnce has two builds do a step at once; the first of them goes on, with an error, when the second waits.
func atOnce(t *testing.T, o rootfs.Options, failure error) (first, second *roottest.Step, b *roottest.Build) {
	t.Helper()
	a := roottest.New(t, overlay(), rootfs.Options{})
	b = a.Again(t, o)
	first, second = awaited("x"), awaited("x")
	running, goOn := make(chan struct{}), make(chan struct{})
	first.Then = func(context.Context, *rootfs.Staged, string) error {
		close(running)
		<-goOn
		return failure
	}
	ended := make(chan error)
	go func() {
		_, _, err := a.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), first)
		ended <- err
	}()
	<-running
	b.Shown.Told = func(text string) {
		if strings.Contains(text, "waiting for its result") {
			close(goOn)
		}
	}
	if o.NoCache {
		close(goOn)
	}
	r, _ := b.Do(t, rootfs.Scratch(), second)
	if got := b.List(t, r); got != "a=1" {
		t.Errorf("the second has %s", got)
	}
	if err := <-ended; !errors.Is(err, failure) {
		t.Error(err)
	}
	return first, second, b
}

func TestAStepThatAnotherBuildRunsIsRunOnce(t *testing.T) {
	t.Parallel()
	first, second, b := atOnce(t, rootfs.Options{}, nil)
	if _, cached := b.Counts(); first.Ran.Load() != 1 || second.Ran.Load() != 0 || cached != 1 {
		t.Errorf("run %d and %d times, %d cached", first.Ran.Load(), second.Ran.Load(), cached)
	}
}

func TestAStepThatFailsInAnotherBuildIsRunAgain(t *testing.T) {
	t.Parallel()
	_, second, _ := atOnce(t, rootfs.Options{}, errors.New("it fails"))
	if second.Ran.Load() != 1 {
		t.Errorf("run %d times", second.Ran.Load())
	}
}

func TestWithoutTheCacheNoBuildWaitsForAnother(t *testing.T) {
	t.Parallel()
	_, second, b := atOnce(t, rootfs.Options{NoCache: true}, nil)
	if second.Ran.Load() != 1 || strings.Contains(b.Shown.Text(), "waiting") {
		t.Errorf("run %d times: %s", second.Ran.Load(), b.Shown.Text())
	}
}
