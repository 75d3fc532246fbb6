package steps_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/steps"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// work is a step's work by its name.
type work struct {
	rootfs.Work
	name string
}

// rooms stand for all rooms of a build: they note what they are asked for.
type rooms struct {
	mu     sync.Mutex
	asked  []string
	events []string
	// image is the root of any image, and made of any step's.
	image, made *rootfs.Root
	cached      bool
	// fetch and make are what becomes of opening contexts and of doing the work.
	fetch, make error
}

func (r *rooms) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, fmt.Sprintf(format, args...))
}

func (r *rooms) Make(_ context.Context, s *plan.Step, below *rootfs.Root, w rootfs.Work) (*rootfs.Root, bool, error) {
	on := "nothing"
	if below != nil {
		on = "a root"
	}
	named, ok := w.(work)
	r.note("make %d on %s: %s %t", s.ID, on, named.name, ok)
	return r.made, r.cached, r.make
}

func (r *rooms) Image(img images.Found) *rootfs.Root {
	r.note("root of %s", img.ID)
	return r.image
}

func (r *rooms) ExplainUnmapped(_ context.Context, err error) error {
	return fmt.Errorf("%w (mapped)", err)
}

func (r *rooms) Workdir(op *plan.Workdir) rootfs.Work { return work{name: "workdir " + op.Path} }

func (r *rooms) Copy(_ *plan.Step, op *plan.Copy, _ steps.Done) rootfs.Work {
	return work{name: "copy to " + op.Dest}
}

func (r *rooms) Work(*plan.Step, *plan.Run, steps.Done) rootfs.Work { return work{name: "run"} }

func (r *rooms) Open(_ context.Context, from []plan.Input) error {
	for _, in := range from {
		r.note("open %s", in.Name)
	}
	return r.fetch
}

// Emit implements progress.Sink.
func (r *rooms) Emit(e progress.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e := e.(type) {
	case progress.StepStarted:
		r.events = append(r.events, fmt.Sprintf("%d %s %s", e.ID, e.Name, e.Text))
	case progress.StepDone:
		r.events = append(r.events, fmt.Sprintf("%d done %t %v", e.ID, e.Cached, e.Err))
	}
}

// found has the images of the plan.
type found struct{}

func (found) Image(id string) images.Found {
	return images.Found{Base: imagebuilder.Base{ID: "found " + id}}
}

func (r *rooms) room() steps.Room {
	return steps.New(steps.Options{Roots: r, Identity: r, Files: r, Runs: r, Contexts: r, Bases: found{}, Progress: r,
		Errors: steps.Errors{Explain: explain}})
}

// explain marks what is the machine's fault.
func explain(err error) error {
	if strings.Contains(err.Error(), "disk") {
		return fmt.Errorf("%w: %w", store.ErrMachine, err)
	}
	return err
}

func stage() *plan.Stage { return &plan.Stage{Name: "0"} }

// step is the second of three, on a first one.
func step(op plan.Op) *plan.Step {
	return &plan.Step{ID: 2, Stage: stage(), Number: 2, Total: 3, Text: "DO it", Op: op, Parent: &plan.Step{ID: 1},
		Location: dockerfile.Location{File: "Dockerfile", StartLine: 7}}
}

func TestEachKindOfStepIsCarriedOutByItsRoom(t *testing.T) {
	t.Parallel()
	below, made, image := new(rootfs.Root), new(rootfs.Root), new(rootfs.Root)
	shown := []string{"2 [2/3] DO it", "2 done true <nil>"}
	for name, test := range map[string]struct {
		op            plan.Op
		root          *rootfs.Root
		asked, events []string
	}{
		"config": {&plan.Config{}, below, nil, nil},
		"base": {&plan.Base{Ref: "busybox", Image: imagebuilder.Base{ID: "1f"}}, image, []string{"root of found 1f"},
			shown},
		"workdir": {&plan.Workdir{Path: "/w"}, made, []string{"make 2 on a root: workdir /w true"}, shown},
		"copy": {&plan.Copy{Dest: "/c", From: plan.Input{Name: "docs"}}, made,
			[]string{"open docs", "make 2 on a root: copy to /c true"}, shown},
		"run": {&plan.Run{Mounts: []plan.Mount{{From: plan.Input{Name: "a"}}, {From: plan.Input{Name: "b"}}}}, made,
			[]string{"open a", "open b", "make 2 on a root: run true"}, shown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rooms{image: image, made: made, cached: true}
			root, err := r.room().Do(t.Context(), step(test.op), func(*plan.Step) *rootfs.Root { return below })
			if err != nil || root != test.root {
				t.Errorf("got root %p, %v", root, err)
			}
			if diff := cmp.Diff(test.asked, r.asked); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.events, r.events); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestScratchIsShownToNobody(t *testing.T) {
	t.Parallel()
	r := new(rooms)
	root, err := r.room().Do(t.Context(), &plan.Step{Stage: stage(), Op: &plan.Base{}}, nil)
	if err != nil || root == nil || len(root.Layers()) != 0 || len(r.events) != 0 {
		t.Errorf("got %v, %v, shown %q", root, err, r.events)
	}
}

func TestAStepOfNoKindIsRefused(t *testing.T) {
	t.Parallel()
	_, err := new(rooms).room().Do(t.Context(), &plan.Step{ID: 9, Stage: stage()}, nil)
	if err == nil || !strings.Contains(err.Error(), "step 9: no way to carry out") {
		t.Errorf("got %v", err)
	}
}

func TestAFailedStepSaysWhereAndWhy(t *testing.T) {
	t.Parallel()
	exit := &runstep.ExitError{Code: 3}
	for name, test := range map[string]struct {
		fetch, make error
		says        string
		code        int
		machine     bool
	}{
		"the work":      {make: errors.New("no file a"), says: "Dockerfile:7: DO it\nno file a (mapped)"},
		"the command":   {make: exit, says: "Dockerfile:7: DO it\n" + exit.Error(), code: 3},
		"the download":  {fetch: errors.New("404"), says: "Dockerfile:7: DO it\n404 (mapped)"},
		"the machine's": {make: errors.New("disk full"), says: "disk full", machine: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rooms{fetch: test.fetch, make: test.make}
			_, err := r.room().Do(t.Context(), step(&plan.Run{}), func(*plan.Step) *rootfs.Root { return nil })
			failed := new(steps.StepError)
			if !errors.As(err, &failed) || failed.ExitCode != test.code || failed.Step != "2/3" || failed.Stage != "0" {
				t.Fatalf("got %+v, %v", failed, err)
			}
			if !strings.Contains(err.Error(), test.says) || errors.Is(err, store.ErrMachine) != test.machine {
				t.Errorf("it says %q", err)
			}
			// Where it came up it is shown without its place.
			if last := r.events[len(r.events)-1]; last != fmt.Sprintf("2 done false %v", failed.Err) {
				t.Errorf("shown is %q", last)
			}
		})
	}
}

func TestWhatWasStoppedOrIsMadeAgainShowsAsCanceled(t *testing.T) {
	t.Parallel()
	r := &rooms{make: &rootfs.GoneError{Layer: "abc"}}
	_, err := r.room().Do(t.Context(), step(&plan.Run{}), func(*plan.Step) *rootfs.Root { return nil })
	if !rootfs.Lost(err) || r.events[1] != "2 done false context canceled" {
		t.Errorf("lost: %v, shown as %q", err, r.events)
	}
	why := errors.New("another step has failed")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	r = &rooms{make: errors.New("killed")}
	_, err = r.room().Do(ctx, step(&plan.Run{}), func(*plan.Step) *rootfs.Root { return nil })
	if !errors.Is(err, why) || r.events[1] != "2 done false context canceled" {
		t.Errorf("stopped: %v, shown as %q", err, r.events)
	}
}

func TestAnErrorIsPlacedOnce(t *testing.T) {
	t.Parallel()
	e := steps.Errors{Explain: explain}
	first := e.Of(step(&plan.Run{}), errors.New("broken"))
	other := &plan.Step{ID: 3, Stage: stage(), Location: dockerfile.Location{File: "Dockerfile", StartLine: 9}}
	if again := e.Of(other, first); again.Error() != first.Error() {
		t.Errorf("placed twice: %v", again)
	}
	if err := e.Of(other, context.Canceled); err.Error() != context.Canceled.Error() {
		t.Errorf("canceled became %v", err)
	}
	placed := e.Of(&plan.Step{Stage: stage(), Platforms: "linux/arm64", Text: "RUN a", Location: other.Location},
		errors.New("broken"))
	if placed.Error() != "Dockerfile:9: [linux/arm64] RUN a\nbroken" {
		t.Errorf("for several platforms: %q", placed)
	}
}

func TestNamesSayNoMoreThanIsNeeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		platforms, stage string
		index, stages    int
		want             string
	}{
		{"", "0", 0, 1, "[2/5]"},
		{"", "1", 1, 2, "[stage-1 2/5]"},
		{"", "builder", 0, 1, "[builder 2/5]"},
		{"linux/arm64", "builder", 0, 2, "[linux/arm64 builder 2/5]"},
		{"linux/arm64", "0", 0, 1, "[linux/arm64 2/5]"},
		{"", "", -1, 1, ""},
		{"linux/arm64", "", -1, 1, "[linux/arm64]"},
	} {
		s := &plan.Step{Platforms: test.platforms, Stage: &plan.Stage{Name: test.stage, Index: test.index}, Number: 2,
			Total: 5}
		if got := (steps.Names{Stages: test.stages}).Of(s); got != test.want {
			t.Errorf("%+v: got %q", test, got)
		}
	}
}
