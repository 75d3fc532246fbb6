package rootfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/userns"
)

// mapping is a map of container IDs from 0 to a range that begins with a host ID.
func mapping(first, length uint32) *userns.Mapping {
	ids := userns.Map{{Host: first, Length: length}}
	return &userns.Mapping{UIDs: ids, GIDs: ids}
}

// asked is who builds with a map of the user's for RUN steps, below a namespace of cooper's.
func asked(steps *userns.Mapping) rootfs.Identity {
	return rootfs.Identity{Process: mapping(0, 65536), StepNS: rootfs.StepNS{Steps: steps, Asked: true}}
}

// owned is a step that writes a file with an owner.
func owned(name string, uid, gid int) *roottest.Step {
	step := roottest.Files(name, name+"=x")
	step.Then = func(_ context.Context, t *rootfs.Staged, dir string) error {
		t.WroteFor(fileop.Owner{UID: uint32(uid), GID: uint32(gid)})
		return os.Chown(dir+"/"+name, uid, gid)
	}
	return step
}

// inRun is a step that a function carries out in its root file system.
func inRun(b *roottest.Build, name string, ns rootfs.NS, run rootfs.RunFunc) *roottest.Step {
	step := roottest.Files(name)
	step.Then = func(ctx context.Context, t *rootfs.Staged, _ string) error {
		_, err := b.Run(ctx, t, ns, run)
		return err
	}
	return step
}

func TestTheNamespaceOfStepsIsWhatTheRequestSays(t *testing.T) {
	t.Parallel()
	steps := mapping(1000, 100)
	for name, test := range map[string]struct {
		identity rootfs.Identity
		want     rootfs.NS
	}{
		"none":                 {rootfs.Identity{}, rootfs.NS{}},
		"only cooper's":        {rootfs.Identity{Process: mapping(0, 65536)}, rootfs.NS{}},
		"a map below cooper's": {asked(steps), rootfs.NS{Mapping: steps, Shifted: true}},
		"one that it has joined": {rootfs.Identity{Process: mapping(0, 65536),
			StepNS: rootfs.StepNS{Steps: steps, Joined: &joined.UserNS{}}}, rootfs.NS{Mapping: steps, Shifted: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := roottest.New(t, overlay(), rootfs.Options{Identity: test.identity})
			step := roottest.Files("step")
			step.Then = func(ctx context.Context, target *rootfs.Staged, _ string) error {
				for range 2 {
					ns, err := b.Namespace(ctx, target, rootfs.Need{})
					if err != nil {
						return err
					}
					if ns.Mapping != test.want.Mapping || ns.Shifted != test.want.Shifted || ns.Joined != test.identity.Joined {
						t.Errorf("got %+v", ns)
					}
				}
				return nil
			}
			b.Do(t, rootfs.Scratch(), step)
		})
	}
}

func TestMountsAreMappedUnlessFilesAreShifted(t *testing.T) {
	t.Parallel()
	m := mapping(1000, 10)
	if got := (rootfs.NS{Mapping: m}).IDMap(); got != m {
		t.Errorf("mapped: %v", got)
	}
	if got := (rootfs.NS{Mapping: m, Shifted: true}).IDMap(); got != nil {
		t.Errorf("shifted: %v", got)
	}
	dir := t.TempDir()
	if err := roottest.Plant(dir, "f=x"); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		ns   rootfs.NS
		want string
	}{{rootfs.NS{}, "0:0 644"}, {rootfs.NS{Mapping: m}, "0:0 644"},
		{rootfs.NS{Mapping: m, Shifted: true}, "1000:1000 644"}} {
		if err := test.ns.Shift(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		if got := stat(t, dir+"/f"); got != test.want {
			t.Errorf("%+v: %s", test.ns, got)
		}
	}
}

// TestAStepSeesAndWritesItsOwnOwners has a step whose IDs are others on disk, and an image that knows nothing of it.
func TestAStepSeesAndWritesItsOwnOwners(t *testing.T) {
	t.Parallel()
	m := mapping(1000, 100)
	for name, in := range map[string]store.Options{"overlay": {Driver: "overlay"}, "vfs": {Driver: "vfs"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := roottest.New(t, in, rootfs.Options{Identity: asked(m)})
			below, _ := b.Do(t, rootfs.Scratch(), owned("f", 7, 8))
			ns := rootfs.NS{Mapping: m, Shifted: true}
			r, _ := b.Do(t, below, inRun(b, "run", ns, func(root executor.Rootfs) (status executor.Status, err error) {
				seen, to := root.Dir, root.Dir
				if seen == nil {
					seen, to = root.Lower[0], root.Upper
				}
				if got := stat(t, at(seen, "f")); got != "1007:1008 644" {
					t.Errorf("the step sees %s", got)
				}
				return status, errors.Join(roottest.Plant(at(to, ""), "new=x"), os.Chown(at(to, "new"), 1005, 1006))
			}))
			view, err := b.View(t.Context(), r, rootfs.NS{})
			if err != nil {
				t.Fatal(err)
			}
			if f, made := stat(t, at(view.Dir, "f")), stat(t, at(view.Dir, "new")); f != "7:8 644" || made != "5:6 644" {
				t.Errorf("the image has %s and %s", f, made)
			}
			if err := view.Release(); err != nil {
				t.Error(err)
			}
			if view, err = b.View(t.Context(), r, ns); err != nil {
				t.Fatal(err)
			}
			if made := stat(t, at(view.Dir, "new")); made != "1005:1006 644" {
				t.Errorf("the next step sees %s", made)
			}
			if err := view.Release(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAStepWritesToWhatIsBelow(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("below", "a=1"))
		r, _ := b.Do(t, below, inRun(b, "run", rootfs.NS{}, func(root executor.Rootfs) (status executor.Status, err error) {
			if root.Dir != nil {
				return status, roottest.Plant(at(root.Dir, ""), "b=2")
			}
			if len(root.Lower) != 1 || root.Work == nil || root.Stubs == nil {
				t.Errorf("it runs in %+v", root)
			}
			return status, roottest.Plant(at(root.Upper, ""), "b=2")
		}))
		if got := b.List(t, r); got != "a=1 b=2" {
			t.Errorf("it made %s", got)
		}
	})
}

func TestAStepThatFailsComesBackWithItsStatus(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		broken := errors.New("broken")
		for name, test := range map[string]struct {
			status executor.Status
			err    error
		}{"status": {executor.Status{ExitCode: 3}, nil}, "error": {executor.Status{}, broken}} {
			step := roottest.Files("step " + name)
			step.Then = func(ctx context.Context, target *rootfs.Staged, _ string) error {
				status, err := b.Run(ctx, target, rootfs.NS{}, func(executor.Rootfs) (executor.Status, error) {
					return test.status,
						test.err
				})
				if status.ExitCode != test.status.ExitCode || !errors.Is(err, test.err) {
					t.Errorf("%s: %v, %v", name, status, err)
				}
				return broken
			}
			if _, _, err := b.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), step); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestOwnersThatTheMapLacksAreNamed(t *testing.T) {
	t.Parallel()
	m := mapping(1000, 100)
	b := roottest.New(t, overlay(), rootfs.Options{Identity: asked(m)})
	fits, _ := b.Do(t, rootfs.Scratch(), owned("fits", 99, 99))
	over, _ := b.Do(t, fits, owned("over", 5, 100))
	ns := rootfs.NS{Mapping: m, Shifted: true}
	ran := false
	run := func(executor.Rootfs) (status executor.Status, err error) { ran = true; return status, nil }
	b.Do(t, fits, inRun(b, "on fits", ns, run))
	if !ran {
		t.Error("owners that fit are refused")
	}
	ran = false
	_, _, err := b.Make(t.Context(), &plan.Step{}, over, inRun(b, "on over", ns, run))
	want := `the owner of "/over" is outside the ID map "0 1000 100", which lacks `
	if err == nil || !strings.Contains(strings.Join(strings.Fields(err.Error()), " "), want) ||
		!strings.HasSuffix(err.Error(), "hint: the map has to have them: IDs 0 to 100 are a range of length 101") || ran {
		t.Errorf("got %v, ran %v", err, ran)
	}
	if _, err := b.View(t.Context(), over, ns); err == nil {
		t.Error("it has a view")
	}
	// What replaced the file has an owner that fits.
	other := owned("over", 5, 6)
	other.Name = "another"
	again, _ := b.Do(t, fits, other)
	if view, err := b.View(t.Context(), again, ns); err != nil {
		t.Error(err)
	} else if stat(t, at(view.Dir, "over")) != "1005:1006 644" || view.Release() != nil {
		t.Error("the wrong file is shown")
	}
}

// auto is who builds with ranges that nobody else uses.
func auto(size, available uint32) rootfs.Identity {
	ids := []userns.SubIDRange{{Start: 1000, Count: available}}
	return rootfs.Identity{Process: mapping(0, 4_000_000), StepNS: rootfs.StepNS{Asked: true,
		Auto: &userns.AutoOptions{Size: size, Available: userns.SubIDs{UIDs: ids, GIDs: ids}}}}
}

// namespace is what a step on a root gets.
func namespace(t *testing.T, b *roottest.Build, below *rootfs.Root, need rootfs.Need) (ns rootfs.NS, err error) {
	t.Helper()
	step := roottest.Files(fmt.Sprint("ns", b.Shown.Text(), need))
	step.Then = func(ctx context.Context, target *rootfs.Staged, _ string) error {
		ns, err = b.Namespace(ctx, target, need)
		return nil
	}
	b.Do(t, below, step)
	if err != nil {
		ns.Mapping = new(userns.Mapping)
	}
	return ns, err
}

func TestARangeIsLargeEnoughForTheImageAndTheStep(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		need rootfs.Need
		file string
		want uint32
	}{
		"little":     {rootfs.Need{}, "f=x", 1024},
		"passwd":     {rootfs.Need{}, "etc/passwd=u:x:7000:8::/:\n", 7001},
		"group":      {rootfs.Need{}, "etc/group=g:x:9000:\n", 9001},
		"the user":   {rootfs.Need{User: "5000"}, "f=x", 5001},
		"its mounts": {rootfs.Need{IDs: userns.IDs{GIDs: []uint32{6000}}}, "f=x", 6001},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := roottest.New(t, overlay(), rootfs.Options{Identity: auto(0, 100_000)})
			below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("below", test.file))
			ns, err := namespace(t, b, below, test.need)
			if err != nil {
				t.Fatal(err)
			}
			if got := ns.Mapping.UIDs[0].Length; got != test.want || ns.Mapping.UIDs[0].Host < 1000 {
				t.Errorf("got %v, want %d IDs", ns.Mapping.UIDs, test.want)
			}
		})
	}
}

func TestBuildsAtTheSameTimeHaveRangesOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{Identity: auto(0, 10_000), NoCache: true})
	other := b.Again(t, rootfs.Options{Identity: auto(0, 10_000), NoCache: true})
	one, err := namespace(t, b, rootfs.Scratch(), rootfs.Need{})
	if err != nil {
		t.Fatal(err)
	}
	same, err := namespace(t, b, rootfs.Scratch(), rootfs.Need{User: "5"})
	if err != nil || same.Mapping.UIDs[0].Host != one.Mapping.UIDs[0].Host {
		t.Errorf("a build's steps have %v and %v, %v", one.Mapping, same.Mapping, err)
	}
	two, err := namespace(t, other, rootfs.Scratch(), rootfs.Need{})
	if err != nil || len(two.Mapping.UIDs) != 1 || two.Mapping.UIDs[0].Host == one.Mapping.UIDs[0].Host {
		t.Errorf("two builds have %v, %v", two.Mapping, err)
	}
	more, err := namespace(t, other, rootfs.Scratch(), rootfs.Need{User: "3000"})
	if err != nil || len(more.Mapping.UIDs) != 1 || more.Mapping.UIDs[0].Length != 3001 {
		t.Errorf("a step that needs more has %v, %v", more.Mapping, err)
	}
	if _, err := namespace(t, other, rootfs.Scratch(), rootfs.Need{User: "20000"}); err == nil ||
		!strings.HasPrefix(err.Error(), "the image's highest owner or user is 20000: ") {
		t.Errorf("more than there are: %v", err)
	}
}

func TestAFixedSizeThatIsTooSmallSaysWhatWouldDo(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{Identity: auto(100, 100_000)})
	if _, err := namespace(t, b, rootfs.Scratch(), rootfs.Need{User: "99"}); err != nil {
		t.Error(err)
	}
	over, _ := b.Do(t, rootfs.Scratch(), owned("over", 100, 0))
	for _, test := range []struct {
		below *rootfs.Root
		need  rootfs.Need
		want  string
	}{
		{over, rootfs.Need{}, `the owner of "/over" is outside the step's namespace: it lacks `},
		{rootfs.Scratch(), rootfs.Need{Roots: []*rootfs.Root{over}},
			`the owner of "/over" is outside the step's namespace: `},
		{rootfs.Scratch(), rootfs.Need{IDs: userns.IDs{UIDs: []uint32{100}}},
			"the step's user, or the owner of a mount, is outside"},
	} {
		_, err := namespace(t, b, test.below, test.need)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) ||
			!strings.HasSuffix(err.Error(), "it takes --userns=auto:size=101, or leave size out") {
			t.Errorf("got %v, want %s", err, test.want)
		}
	}
}

func TestStepsOfDifferentNamespacesHaveDifferentKeys(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for name, identity := range map[string]rootfs.Identity{
		"none": {}, "a map": asked(mapping(1000, 100)), "another map": asked(mapping(1000, 101)),
		"auto": auto(0, 1000), "auto of a size": auto(100, 1000),
	} {
		if other, ok := seen[identity.Key()]; ok {
			t.Errorf("%s and %s have one key", name, other)
		}
		seen[identity.Key()] = name
	}
	// Which range is free differs from build to build.
	if auto(0, 1000).Key() != auto(0, 2000).Key() {
		t.Error("the key of auto says which IDs there are")
	}
	if (rootfs.Identity{}).Key() != "" {
		t.Error("no namespace has a key")
	}
}

func TestOwnersNeedAPlaceInEveryNamespace(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{Identity: rootfs.Identity{Process: mapping(0, 1000)}})
	for _, test := range []struct {
		ns       rootfs.NS
		uid, gid uint32
		ok       bool
	}{
		{rootfs.NS{}, 999, 999, true}, {rootfs.NS{}, 1000, 0, false}, {rootfs.NS{}, 0, 1000, false},
		{rootfs.NS{Mapping: mapping(5, 10)}, 9, 9, true}, {rootfs.NS{Mapping: mapping(5, 10)}, 10, 0, false},
	} {
		if err := b.Identity.CheckPlace(test.ns, test.uid, test.gid); (err == nil) != test.ok {
			t.Errorf("%d:%d in %v: %v", test.uid, test.gid, test.ns.Mapping, err)
		}
	}
}

func TestAnIDWithoutAPlaceIsExplained(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{Identity: asked(mapping(1000, 100))})
	_, _, unmapped := mapping(1000, 100).ToHost(0, 100)
	if unmapped == nil {
		t.Fatal("the ID has a place")
	}
	for name, test := range map[string]struct {
		err  error
		hint string
	}{
		"another error": {os.ErrNotExist, ""},
		"an ID": {fmt.Errorf("chown: %w", unmapped),
			"\nhint: the map of RUN steps has to have the ID: IDs 0 to 100 are a range of length 101"},
	} {
		got := b.Identity.ExplainUnmapped(t.Context(), test.err)
		if !errors.Is(got, test.err) || got.Error() != test.err.Error()+test.hint {
			t.Errorf("%s: %v", name, got)
		}
	}
}
