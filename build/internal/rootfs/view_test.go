package rootfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/rootfs/directories"
	"github.com/cooperbuild/cooper/build/internal/rootfs/roottest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
)

// at is a path below an open directory.
func at(dir *os.File, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), name) }

// stat gives owner and mode of a file as "UID:GID MODE".
func stat(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%d %o", st.Uid, st.Gid, st.Mode&0o7777)
}

func TestNothingHasNoView(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		view, err := b.View(t.Context(), rootfs.Scratch(), rootfs.NS{})
		if view.Dir != nil || err != nil {
			t.Errorf("got %v, %v", view.Dir, err)
		}
		if err := view.Release(); err != nil {
			t.Error(err)
		}
		if r := rootfs.Scratch(); r.Top() != "" || r.Content() != "" || !r.IsSealed() || r.Base() != r || r.Below() != nil {
			t.Errorf("scratch is %+v", r)
		}
	})
}

func TestAStepSeesWhatIsBelow(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("below", "a=1"))
		step := roottest.Files("step", "b=2")
		step.Then = func(ctx context.Context, target *rootfs.Staged, _ string) error {
			view, err := target.Snap.Start(ctx)
			if err != nil {
				return err
			}
			if text, err := os.ReadFile(at(view.Dir, "a")); string(text) != "1" || err != nil {
				t.Errorf("it sees %q, %v", text, err)
			}
			return view.Release()
		}
		b.Do(t, below, step)
	})
}

func TestNobodyWritesToAView(t *testing.T) {
	t.Parallel()
	b := roottest.New(t, overlay(), rootfs.Options{})
	one, _ := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
	two, _ := b.Do(t, one, roottest.Files("two", "b=2"))
	view, err := b.View(t.Context(), two, rootfs.NS{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at(view.Dir, "new"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("got %v", err)
	}
	if err := view.Release(); err != nil {
		t.Error(err)
	}
}

// TestTheRootDirectoryStaysAsItIs has a directory that a step has left empty used for another one.
func TestTheRootDirectoryStaysAsItIs(t *testing.T) {
	t.Parallel()
	// With "overlay portable" the driver mounts the layers, and gives their root directories to root.
	for _, in := range []store.Options{{Driver: "overlay"}, {Driver: "vfs"}} {
		b := roottest.New(t, in, rootfs.Options{})
		owned := roottest.Files("owned", "a=1")
		owned.Then = func(_ context.Context, _ *rootfs.Staged, dir string) error {
			return errors.Join(os.Chown(dir, 7, 8), os.Chmod(dir, 0o711))
		}
		mine, _ := b.Do(t, rootfs.Scratch(), owned)
		b.Do(t, mine, roottest.Files("nothing"))
		plain, _ := b.Do(t, rootfs.Scratch(), roottest.Files("plain", "b=1"))
		on, _ := b.Do(t, mine, roottest.Files("on", "c=1"))
		for name, test := range map[string]struct {
			root *rootfs.Root
			want string
		}{"changed": {mine, "7:8 711"}, "as it was": {plain, "0:0 755"}, "inherited": {on, "7:8 711"}} {
			view, err := b.View(t.Context(), test.root, rootfs.NS{})
			if err != nil {
				t.Fatal(err)
			}
			if got := stat(t, at(view.Dir, ".")); got != test.want {
				t.Errorf("%s: %s", name, got)
			}
			if err := view.Release(); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAnImageIsARoot(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		made, _ := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
		layer, err := b.Depot.Store.Layer(made.Top())
		if err != nil {
			t.Fatal(err)
		}
		image := b.Again(t, rootfs.Options{})
		base := image.Image(foundImage(layer))
		if base.Top() != made.Top() || base.Base() != base || base.Own() != nil || base.Content() == "" || !base.IsSealed() {
			t.Errorf("the root of an image is %+v", base)
		}
		on, _ := image.Do(t, base, roottest.Files("on", "b=2"))
		if got := image.List(t, on); got != "a=1 b=2" || on.Base() != base || len(on.Layers()) != 2 {
			t.Errorf("on it: %s", got)
		}
	})
}

func TestDirectoriesAreMadeForTheirUser(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		below, _ := b.Do(t, rootfs.Scratch(), roottest.Files("users", "etc/passwd=u:x:7:8::/:\n", "etc/group=g:x:9:\n",
			"there/f=1"))
		for n, test := range []struct{ user, want string }{
			{"", "0:0 755"}, {"u", "7:8 755"}, {"u:g", "7:9 755"}, {"5:6", "5:6 755"}, {"unknown", "0:0 755"},
			{"u:unknown", "7:8 755"},
		} {
			step := roottest.Files(fmt.Sprint("mkdir", n))
			step.Then = func(ctx context.Context, target *rootfs.Staged, _ string) error {
				return directories.Make(ctx, target, "/there/x/y", test.user)
			}
			r, _ := b.Do(t, below, step)
			view, err := b.View(t.Context(), r, rootfs.NS{})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"there/x", "there/x/y"} {
				if got := stat(t, at(view.Dir, name)); got != test.want {
					t.Errorf("for %q: %s is %s", test.user, name, got)
				}
			}
			if got := stat(t, at(view.Dir, "there")); got != "0:0 755" {
				t.Errorf("for %q: what was there is %s", test.user, got)
			}
			if err := view.Release(); err != nil {
				t.Error(err)
			}
		}
		step := roottest.Files("file in the way")
		step.Then = func(ctx context.Context, target *rootfs.Staged, _ string) error {
			return directories.Make(ctx, target, "/there/f/x", "")
		}
		if _, _, err := b.Make(t.Context(), &plan.Step{}, below, step); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("below a file: %v", err)
		}
	})
}

// TestLayersThatOthersRemoveAreMissed has another program remove a layer under a build.
func TestLayersThatOthersRemoveAreMissed(t *testing.T) {
	t.Parallel()
	drivers(t, func(t *testing.T, b *roottest.Build) {
		r, _ := b.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
		if err := b.CheckStill(r); err != nil {
			t.Fatal(err)
		}
		if err := b.Depot.Store.RemoveLayer(r.Top()); err != nil {
			t.Fatal(err)
		}
		gone := new(rootfs.GoneError)
		err := b.CheckStill(r)
		if !errors.As(err, &gone) || gone.Layer != r.Top() || !strings.HasSuffix(err.Error(), "\nhint: build again") {
			t.Errorf("got %v", err)
		}
		failing := roottest.Files("two", "b=2")
		failing.Then = func(context.Context, *rootfs.Staged, string) error { return unix.EIO }
		next := b.Again(t, rootfs.Options{})
		if _, _, err := next.Make(t.Context(), &plan.Step{}, r, failing); err == nil {
			t.Error("a step was done on nothing")
		}
		made, _, err := next.Make(t.Context(), &plan.Step{}, r, roottest.Files("three", "c=3"))
		if err == nil {
			err = errors.Join(made.Wait(t.Context()), next.Wait())
		}
		if err == nil {
			t.Error("a layer was put on one that is gone")
		}
	})
}

func TestWhatIsCleanedUpIsSoInTurnAndAllOfIt(t *testing.T) {
	t.Parallel()
	b := rootfs.New(rootfs.Options{Store: roottest.New(t, overlay(), rootfs.Options{}).Depot.Store})
	var done []string
	broken := errors.New("broken")
	for _, name := range []string{"first", "second", "third"} {
		b.OnClose(func() error {
			done = append(done, name)
			if name == "second" {
				return broken
			}
			return nil
		})
	}
	if err := b.Close(); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	if want := []string{"third", "second", "first"}; !slices.Equal(done, want) {
		t.Errorf("done: %v", done)
	}
}

// TestNoDescriptorOrMountOutlivesABuild is not parallel, for it counts those of the process.
func TestNoDescriptorOrMountOutlivesABuild(t *testing.T) {
	b := roottest.New(t, overlay(), rootfs.Options{})
	count := func() (descriptors, mounts int) {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		return len(names), strings.Count(string(text), filepath.Dir(b.Depot.Store.Paths().Own))
	}
	work := func() {
		next := b.Again(t, rootfs.Options{NoCache: true})
		one, _ := next.Do(t, rootfs.Scratch(), roottest.Files("one", "a=1"))
		two, _ := next.Do(t, one, roottest.Files("two", "b=2"))
		next.Do(t, two, roottest.Files("nothing"))
		failing := roottest.Files("failing")
		failing.Then = func(context.Context, *rootfs.Staged, string) error { return unix.EIO }
		if _, _, err := next.Make(t.Context(), &plan.Step{}, two, failing); !errors.Is(err, unix.EIO) {
			t.Error(err)
		}
		next.List(t, two)
		if err := next.Close(); err != nil {
			t.Error(err)
		}
	}
	work() // what is opened once for good
	descriptors, mounts := count()
	for range 3 {
		work()
	}
	if d, m := count(); d != descriptors || m != mounts {
		t.Errorf("%d descriptors, %d mounts; they were %d and %d", d, m, descriptors, mounts)
	}
	if names, err := filepath.Glob(filepath.Join(b.Depot.Store.Paths().Own, "tmp", "*", "*")); err != nil ||
		len(names) != 0 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}
