package rootfs_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/rootfs/together"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	mount "github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// onImage has an image of one layer, with a=1, and a step on it for each list of files.
func onImage(t *testing.T, b *roottest.Build, steps ...*roottest.Step) (base, r *rootfs.Root) {
	t.Helper()
	below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("base", "a=1"))
	l, err := b.Depot.Store.Layer(below.Top())
	if err != nil {
		t.Fatal(err)
	}
	base = b.Image(foundImage(l))
	r = base
	for _, s := range steps {
		r, _ = b.Do(t, r, s)
	}
	return base, r
}

func TestASquashedRootHasTheSameFilesInOneLayer(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		base, r := onImage(t, b, roottest.Files("one", "b=1"), roottest.Files("two", "b=two", "c=3"))
		squash := func(b *roottest.Build, r *rootfs.Root, all bool) *rootfs.Root {
			t.Helper()
			got, err := b.Squash(t.Context(), r, all)
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		for name, test := range map[string]struct {
			all    bool
			layers int
			parent string
		}{
			"its own": {false, 2, base.Top()},
			"all":     {true, 1, ""},
		} {
			got := squash(b, r, test.all)
			if len(got.Layers()) != test.layers || got.Own() == nil || got.Own().ID != got.Top() ||
				got.Own().Parent != test.parent || got.Content() != r.Content() || !got.Created().Equal(r.Created()) {
				t.Errorf("%s: %+v", name, got.Layers())
			}
			if files := b.List(t, got); files != "a=1 b=two c=3" {
				t.Errorf("%s: it has %s", name, files)
			}
			before := strings.Count(b.Shown.Text(), "squashing ")
			if again := squash(b.Again(t, rootfs.Options{}), r, test.all); again.Top() != got.Top() || before == 0 {
				t.Errorf("%s: the next build has %s, not %s; told %d times", name, again.Top(), got.Top(), before)
			}
			if again := squash(b, got, test.all); again != got {
				t.Errorf("%s: it is squashed again", name)
			}
		}
		for name, r := range map[string]*rootfs.Root{"nothing of its own": base, "one of its own": r.Below(),
			"nothing": rootfs.Scratch()} {
			if squash(b, r, false) != r {
				t.Errorf("%s: it is squashed", name)
			}
		}
	})
}

// TestLayersThatCancelOutAreSquashedToNone has a second step that removes what the first has made.
func TestLayersThatCancelOutAreSquashedToNone(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		removed := inRun(b, "removed", rootfs.NS{}, func(root executor.Rootfs) (status executor.Status, err error) {
			dir := root.Dir
			if dir == nil {
				if dir, err = mount.Mount(mount.Options{Lower: append(slices.Clone(root.Lower), root.Stubs), Upper: root.Upper,
					Work: root.Work, UserXattr: root.UserXattr, Volatile: root.Volatile}); err != nil {
					return status, err
				}
				defer dir.Close()
			}
			return status, os.Remove(at(dir, "b"))
		})
		base, r := onImage(t, b, roottest.Files("one", "b=1"), removed)
		if got := b.List(t, r); got != "a=1" || len(r.Layers()) != 3 {
			t.Fatalf("%d layers with %s", len(r.Layers()), got)
		}
		squashed, err := b.Squash(t.Context(), r, false)
		if err != nil || squashed.Top() != base.Top() || squashed.Own() != nil || squashed.Base().Top() != base.Top() {
			t.Errorf("%+v, %v", squashed, err)
		}
	})
}

func TestLayersOfADateAreMadeOfThoseWithout(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		base, r := onImage(t, b, roottest.Files("one", "b=1"))
		date := &layer.Date{Time: time.Unix(1_000_000_000, 0), Exact: true}
		dating := b.Again(t, rootfs.Options{Date: date})
		got, err := dating.Dated(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if got.Top() == r.Top() || got.Own().Parent != base.Top() || !got.Created().Equal(date.Time) {
			t.Errorf("%s instead of %s, made at %v", got.Top(), r.Top(), got.Created())
		}
		if made := times(t, b, got); len(made) != 1 || made["b"] != date.Time.Unix() {
			t.Errorf("its archive has files of %v", made)
		}
		if none, err := dating.Dated(t.Context(), base); err != nil || none != base {
			t.Errorf("without layers of its own: %v", err)
		}
	})
}

// times are those of the files in the archive of a root's uppermost layer.
func times(t *testing.T, b *roottest.Build, r *rootfs.Root) map[string]int64 {
	t.Helper()
	l, err := b.Depot.Store.Layer(r.Top())
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.Depot.Store.LayerTar(l)
	if err != nil {
		t.Fatal(err)
	}
	defer text.Close()
	all := map[string]int64{}
	for archive := tar.NewReader(text); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = h.ModTime.Unix()
	}
}

func TestLayersThatAreGoneAreNotSquashed(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		_, r := onImage(t, b, roottest.Files("one", "b=1"), roottest.Files("two", "c=1"))
		if err := b.Depot.Store.RemoveLayer(r.Top()); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Again(t, rootfs.Options{}).Squash(t.Context(), r, false); err == nil ||
			!strings.HasPrefix(err.Error(), "squash 2 layers: ") || got != nil || !rootfs.Lost(err) {
			t.Errorf("of a layer that is gone: %v, %v", got, err)
		}
	})
}

// TestALayerOfNoStepIsOfItsContent has what somebody wrote by hand kept.
func TestALayerOfNoStepIsOfItsContent(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		base, _ := onImage(t, b)
		staged, err := b.Stage(t.Context(), &plan.Step{Text: "by hand"}, base)
		if err != nil {
			t.Fatal(err)
		}
		dir, _ := staged.Snap.Files()
		if err := roottest.Plant(dir, "b=2"); err != nil {
			t.Fatal(err)
		}
		r, err := b.Seal(t.Context(), staged)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.List(t, r); got != "a=1 b=2" || r.Below() != base || !r.IsSealed() || r.Own().Parent != base.Top() {
			t.Errorf("it has %s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		other, err := b.Stage(ctx, &plan.Step{}, base)
		if err != nil {
			t.Fatal(err)
		}
		dir, _ = other.Snap.Files()
		if err := roottest.Plant(dir, "c=3"); err != nil {
			t.Fatal(err)
		}
		cancel()
		if r, err := b.Seal(ctx, other); err == nil || r != nil {
			t.Errorf("when it is stopped: %v, %v", r, err)
		}
	})
}

// TestWhatSecretsMayHaveMadeIsMadeForEachBuild has builds of one group come to a step one after the other.
func TestWhatSecretsMayHaveMadeIsMadeForEachBuild(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	for name, test := range map[string]struct {
		mounts []plan.Mount
		made   int32
	}{
		"no mounts":     {nil, 1},
		"a cache":       {[]plan.Mount{{Type: plan.MountCache}}, 1},
		"a secret":      {[]plan.Mount{{Type: plan.MountCache}, {Type: plan.MountSecret}}, 2},
		"a key's agent": {[]plan.Mount{{Type: plan.MountSSH}}, 2},
	} {
		group, work := together.New(), roottest.Files(name, "f=1")
		for range 2 {
			one := b.Again(t, rootfs.Options{NoCache: true, Together: group})
			r, _, err := one.Make(t.Context(), &plan.Step{Op: &plan.Run{Mounts: test.mounts}}, rootfs.Scratch(), work)
			if err == nil {
				err = r.Wait(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := one.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		if got := work.Ran.Load(); got != test.made {
			t.Errorf("%s: the step is done %d times, not %d", name, got, test.made)
		}
	}
}

func TestMoreLayersGoOnAnImage(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	base, r := onImage(t, b, roottest.Files("one", "b=1"), roottest.Files("two", "c=1"))
	if base.Above(nil, time.Now()) != base {
		t.Error("nothing on top of it is something")
	}
	got := base.Above(r.Layers()[1:], r.Created())
	if got.Top() != r.Top() || !slices.Equal(got.Layers(), r.Layers()) || got.Own().ID != r.Top() || got.Base() != base ||
		got.Below() != base || got.Content() == base.Content() || got.Content() == "" || !got.Created().Equal(r.Created()) {
		t.Errorf("%+v", got)
	}
	if files := b.List(t, got); files != "a=1 b=1 c=1" {
		t.Errorf("it has %s", files)
	}
}

func TestAnOverlayOfOtherDirectoriesIsMounted(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	var lower []*os.File
	for i := range 2 {
		dir := t.TempDir()
		if err := roottest.Plant(dir, fmt.Sprintf("f%d=%d", i, i), fmt.Sprintf("both=%d", i)); err != nil {
			t.Fatal(err)
		}
		f, err := fsys.OpenDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		lower = append(lower, f)
	}
	mounted, err := b.Overlay(mount.Options{Lower: lower})
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	if got := roottest.List(t, at(mounted, ".")); got != "both=0 f0=0 f1=1" {
		t.Errorf("it has %s", got)
	}
}
