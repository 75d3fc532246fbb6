package runstep_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
)

// held is what this process and a store hold at a time.
type held struct {
	descriptors, mounts int
	temporary           []string
}

func (b build) held(t *testing.T) (h held) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	h.descriptors = len(fds)
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, b.storeRoot()) {
			h.mounts++
		}
	}
	h.temporary, err = filepath.Glob(filepath.Join(b.storeRoot(), "*", "tmp", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// everyMount has a mount of each kind, two of them writable views.
func everyMount() []plan.Mount {
	writable := fromContext("/", "/w")
	writable.ReadOnly = false
	stage := plan.Mount{Type: plan.MountBind, From: plan.Input{Kind: plan.InputStep, Step: &plan.Step{}}, Source: "/",
		Target: "/s"}
	return []plan.Mount{
		fromContext("/", "/r"), writable, stage, cacheMount("c", "/c"), {Type: plan.MountTmpfs, Target: "/t"},
		{Type: plan.MountSecret, ID: "s", Target: "/secret", Mode: 0o400},
	}
}

// It runs beside no other test, which may have descriptors of its own.
func TestNothingOfAStepIsLeftHoweverItEnds(t *testing.T) { // see above
	b := newBuild(t).withContext(t, map[string]string{".dockerignore": "hidden\n", "hidden": "x", "a": "x", "b": "x"})
	for name, id := range map[string]int{"a": 1234, "b": 4321} { // a copy is shown
		if err := os.Lchown(filepath.Join(b.context, name), id, id); err != nil {
			t.Fatal(err)
		}
	}
	r := b.room(runstep.Options{
		Secrets: map[string]runstep.Secret{"s": runstep.Secret("x")},
		Volumes: []runstep.Volume{{Source: t.TempDir(), Target: "/v"}, {Source: t.TempDir(), Target: "/d", Discard: true}},
	})
	base := b.busybox(t)
	done := func(*plan.Step) *rootfs.Root { return base }
	run := func(text string, mounts ...plan.Mount) error {
		_, _, err := b.roots.Make(t.Context(), &plan.Step{}, base, r.Work(&plan.Step{}, sh(text, mounts...), done))
		return errors.Join(err, b.roots.Wait())
	}
	if err := run("true", everyMount()...); err != nil { // it opens what the build keeps open
		t.Fatal(err)
	}
	if run("exit 1") == nil { // it takes what the first one has left for the next
		t.Fatal("a step that fails has succeeded")
	}
	before := b.held(t)
	failed := fromContext("/nowhere", "/n")
	for text, mounts := range map[string][]plan.Mount{
		"exit 3":                  everyMount(),
		"kill -9 $$; exit 4":      everyMount(),
		"no-such-command":         everyMount(),
		"true # a missing source": append(everyMount(), failed),
		"true # a missing secret": append(everyMount(), plan.Mount{Type: plan.MountSecret, ID: "n", Target: "/n",
			Required: true}),
		"true # a missing agent": append(everyMount(), plan.Mount{Type: plan.MountSSH, ID: "n", Target: "/n",
			Required: true}),
		"true # mounts on nothing": append(everyMount(), plan.Mount{Type: plan.MountTmpfs, Target: "/busybox/t"}),
	} {
		if run(text, mounts...) == nil {
			t.Errorf("%q succeeded", text)
		}
		if after := b.held(t); after.descriptors != before.descriptors || after.mounts != before.mounts ||
			len(after.temporary) != len(before.temporary) {
			t.Errorf("%q: before %+v, after %+v", text, before, after)
		}
	}
	r.Run.Volumes = append(r.Run.Volumes, runstep.Volume{Source: "/no/such", Target: "/x"})
	if run("true # a missing volume", everyMount()...) == nil {
		t.Error("a volume that isn't there is no error")
	}
	if after := b.held(t); after.descriptors != before.descriptors || len(after.temporary) != len(before.temporary) {
		t.Errorf("a missing volume: before %+v, after %+v", before, after)
	}
}

func TestCopiesOfContextsGoWithTheBuild(t *testing.T) {
	t.Parallel()
	var b build
	temporary := func() []string {
		found, err := filepath.Glob(filepath.Join(b.storeRoot(), "*", "tmp", "*"))
		if err != nil {
			t.Error(err)
		}
		return found
	}
	t.Cleanup(func() { // when the build has ended
		if left := temporary(); len(left) != 0 {
			t.Errorf("after the build there are %q", left)
		}
	})
	b = newBuild(t).withContext(t, map[string]string{"a": "x", "b": "x"})
	for name, id := range map[string]int{"a": 1234, "b": 4321} {
		if err := os.Lchown(filepath.Join(b.context, name), id, id); err != nil {
			t.Fatal(err)
		}
	}
	b.do(t, b.room(runstep.Options{}), b.busybox(t), sh("true", fromContext("/", "/ctx")))
	if len(temporary()) == 0 {
		t.Error("while it builds there are none")
	}
}
