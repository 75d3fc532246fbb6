package snapshot_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// container makes the writable layer of a container on a layer, "" for none.
func (b bench) container(parent string) string {
	b.t.Helper()
	l, err := library.Of(b.st.Parts().Library).PutLayer("", parent, nil, "", true,
		&storage.LayerOptions{IDMappingOptions: store.HostIDs()}, nil)
	b.must(err)
	return l.ID
}

// adopt opens such a layer, and lets go of it when the test ends.
func (b bench) adopt(id string, shared bool) *snapshot.Adopted {
	b.t.Helper()
	a, err := b.room.Adopt(id, shared)
	b.must(err)
	b.t.Cleanup(func() { b.must(a.Remove()) })
	return a
}

// shownBy runs a test with a container that this process alone mounts, if it can, and with one that the driver does.
func shownBy(t *testing.T, f func(t *testing.T, b bench, base []store.Layer, shared bool)) {
	t.Helper()
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared %v", shared), func(t *testing.T) {
			t.Parallel()
			ways(t, func(t *testing.T, b bench, base []store.Layer) { f(t, b, base, shared) })
		})
	}
}

// TestALayerIsMadeOfWhatAContainerHas, which goes on with it.
func TestALayerIsMadeOfWhatAContainerHas(t *testing.T) {
	t.Parallel()
	shownBy(t, func(t *testing.T, b bench, base []store.Layer, shared bool) {
		before := b.opened()
		id := b.container(top(base))
		a := b.adopt(id, shared)
		b.must(a.Inherit())
		view, err := a.Start(t.Context())
		b.must(err)
		if view.Layers != nil {
			t.Errorf("files may be linked to %v", view.Layers)
		}
		root := fmt.Sprintf("/proc/self/fd/%d", view.Dir.Fd())
		if text, err := os.ReadFile(filepath.Join(root, "dir/c")); err != nil || string(text) != "c" {
			t.Errorf("it shows %q, %v", text, err)
		}
		b.must(put(root, "copied", 3, 4), view.Release())
		b.run(a, snapshot.NS{}, func(root string) {
			if got := b.owner(filepath.Join(root, "copied")); got != "3:4" {
				t.Errorf("a command sees %s", got)
			}
			b.must(put(root, "made", 1, 2), os.Remove(filepath.Join(root, "a")))
		})
		l, res := b.commit(a, top(base))
		if l.ID != store.LayerID(top(base), res.DiffID) || l.ID == id || l.Parent != top(base) {
			t.Errorf("the layer is %+v", l)
		}
		want := []string{".wh.a 0:0", "copied 3:4", "made 1:2"}
		if diff := cmp.Diff(want, b.entries(l)); diff != "" {
			t.Error(diff)
		}

		again := b.adopt(id, shared)
		b.run(again, snapshot.NS{}, func(root string) { b.must(put(root, "later", 0, 0)) })
		more, _ := b.commit(again, top(base))
		want = []string{".wh.a 0:0", "copied 3:4", "later 0:0", "made 1:2"}
		if diff := cmp.Diff(want, b.entries(more)); diff != "" {
			t.Errorf("the container has not gone on: %s", diff)
		}
		b.must(a.Remove(), again.Remove(), again.Remove(), b.room.Close())
		if after := b.opened(); !b.st.HasLayer(id) || len(after) > len(before) || len(b.unfinished()) > 0 {
			t.Errorf("the container's layer is there: %v; open: %q, left: %q", b.st.HasLayer(id), after, b.unfinished())
		}
	})
}

// TestAContainerKeepsWhatAFailedCommandWrote unlike a step of a build.
func TestAContainerKeepsWhatAFailedCommandWrote(t *testing.T) {
	t.Parallel()
	shownBy(t, func(t *testing.T, b bench, base []store.Layer, shared bool) {
		a := b.adopt(b.container(top(base)), shared)
		for range 2 { // the second one mounts it anew
			if err := b.try(a, snapshot.NS{}, false, func(root string) {
				b.must(put(root, "partly", 0, 0))
			}); !errors.Is(err, errAgain) {
				t.Fatal(err)
			}
		}
		l, _ := b.commit(a, top(base))
		if diff := cmp.Diff([]string{"partly 0:0"}, b.entries(l)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestAContainerBeginsWithTheRootDirectoryOfItsImage(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		odd := b.add(base, func(root string) { b.must(os.Chmod(root, 0o711), os.Chown(root, 3, 4)) })
		for name, test := range map[string]struct{ parent, want string }{
			"an image":         {top(base), "0:0 755"},
			"a root of others": {top(odd), "3:4 711"},
			"nothing":          {"", "0:0 755"},
		} {
			id := b.container(test.parent)
			a := b.adopt(id, false)
			b.must(a.Inherit())
			view, err := a.Start(t.Context())
			b.must(err)
			attr, err := layer.ReadRootAttr(fmt.Sprintf("/proc/self/fd/%d", view.Dir.Fd()))
			b.must(err, view.Release())
			if got := fmt.Sprintf("%d:%d %o", attr.UID, attr.GID, attr.Mode&0o7777); got != test.want {
				t.Errorf("%s: it is %s, not %s", name, got, test.want)
			}
			res, err := a.Read(t.Context(), snapshot.ReadOptions{})
			if b.must(err, a.Remove()); !res.Empty {
				t.Errorf("%s: it has a change: %+v", name, res)
			}
		}
	})
}

func TestAContainerThatNothingWasWrittenToIsEmpty(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		tells := b.room.Way() == snapshot.ByRename
		for name, change := range map[string]func(root string) error{
			"":               nil,
			"a file":         func(root string) error { return put(root, "f", 0, 0) },
			"a removed file": func(root string) error { return os.Remove(filepath.Join(root, "a")) },
			"the root":       func(root string) error { return os.Chmod(root, 0o700) },
		} {
			a := b.adopt(b.container(top(base)), false)
			b.must(a.Inherit())
			if a.Empty() != tells {
				t.Errorf("at first: %v", a.Empty())
			}
			if change == nil {
				continue
			}
			b.run(a, snapshot.NS{}, func(root string) { b.must(change(root)) })
			if a.Empty() {
				t.Errorf("%s: it counts as empty", name)
			}
		}
	})
}

// TestAWorkingContainersFilesKeepTheirOwners has commands that should see other ones.
func TestAWorkingContainersFilesKeepTheirOwners(t *testing.T) {
	t.Parallel()
	shownBy(t, func(t *testing.T, b bench, base []store.Layer, shared bool) {
		a := b.adopt(b.container(top(base)), shared)
		mapped := shifted()
		mapped.Shifted = false
		never := func(executor.Rootfs) (bool, error) {
			t.Error("the command is run")
			return true, nil
		}
		refused := []snapshot.NS{shifted()}
		if a.ByDriver() {
			refused = append(refused, mapped)
		}
		for _, ns := range refused {
			if err := a.InNamespace(t.Context(), ns, never); err == nil || !strings.Contains(err.Error(), "\nhint: ") {
				t.Errorf("shifted %v: %v", ns.Shifted, err)
			}
		}
		if want := shared || b.room.Way() != snapshot.ByRename; a.ByDriver() != want {
			t.Errorf("the driver shows it: %v", a.ByDriver())
		}
	})
}

// TestAContainerWhoseMountWasCutShortIsMounted: the kernel has left a mark that it lost what wasn't synced.
func TestAContainerWhoseMountWasCutShortIsMounted(t *testing.T) {
	t.Parallel()
	b := newBench(t, store.Options{Driver: "overlay", Root: t.TempDir()})
	base, err := makeBase(t.Context(), b.room)
	b.must(err)
	id := b.container(base.ID)
	dirs, err := library.Of(b.st.Parts().Library).Directories(id)
	b.must(err, os.MkdirAll(filepath.Join(dirs.Work, "work", "incompat", "volatile"), 0o700))
	a := b.adopt(id, false)
	b.run(a, snapshot.NS{}, func(root string) { b.must(put(root, "f", 0, 0)) })
	before := b.opened()
	b.run(a, snapshot.NS{}, func(root string) { b.must(os.Remove(filepath.Join(root, "f")), put(root, "f", 0, 0)) })
	if after := b.opened(); len(after) != len(before) {
		t.Errorf("after another command, open: %q, it was %q", after, before)
	}
	if files, _ := a.Files(); files != dirs.Upper {
		t.Errorf("without a mount, its files are in %s", files)
	}
	l, _ := b.commit(a, base.ID)
	if diff := cmp.Diff([]string{"f 0:0"}, b.entries(l)); diff != "" {
		t.Error(diff)
	}
}

func TestAContainerThatIsNotThereIsUnknown(t *testing.T) {
	t.Parallel()
	ways(t, func(t *testing.T, b bench, base []store.Layer) {
		if a, err := b.room.Adopt(strings.Repeat("0", 64), false); !store.Unknown(err) || a != nil {
			t.Errorf("%v, %v", a, err)
		}
		a := b.adopt(b.container(top(base)), false)
		if _, err := a.Commit(t.Context(), top(base)); err == nil {
			t.Error("what nobody has read is a layer")
		}
		if dir, err := a.Pending(); dir != nil || err != nil {
			t.Errorf("steps may be put on what goes on to change: %v, %v", dir, err)
		}
	})
}
