package containers_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/containers"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

func TestContainersAreMadeChangedAndRemoved(t *testing.T) {
	t.Parallel()
	for name, o := range storetest.Drivers() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := storetest.Open(t, o)
			layers := storetest.Stack(t, d, "", "one", "two")
			lower := storetest.Image(t, d, "lower", layers[:1], "localhost/lower:1")
			upper := storetest.Image(t, d, "upper", layers, "localhost/upper:1")
			r := containers.New(d.Store)
			c, err := r.Create("one", lower)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.Create("one", lower); !errors.Is(err, containers.ErrNameTaken) {
				t.Errorf("a name is given twice: %v", err)
			}
			if free, err := r.Unused("one"); free != "one-1" || err != nil {
				t.Errorf("the next name is %q, %v", free, err)
			}
			if r.IsWorking(c) {
				t.Error("it is a working container before anybody said so")
			}
			if err := r.Write(c.ID, containers.StateFile, []byte("{}")); err != nil {
				t.Fatal(err)
			}
			moved, err := r.Rebase(c, upper)
			if err != nil || moved.ID != c.ID || !slices.Equal(moved.Names, c.Names) || moved.Image != upper ||
				moved.Layer == c.Layer {
				t.Fatalf("it has become %+v, %v", moved, err)
			}
			if text, err := r.Read(c.ID, containers.StateFile); string(text) != "{}" || err != nil || !r.IsWorking(moved) {
				t.Errorf("its file is %q, %v", text, err)
			}
			if l, err := d.Store.Layer(moved.Layer); err != nil || l.Parent != layers[1].ID {
				t.Errorf("it is on layer %s, %v", l.Parent, err)
			}
			if err := r.Rename(moved, "two"); err != nil {
				t.Fatal(err)
			}
			found, err := r.Find("two")
			if err != nil || found.ID != c.ID {
				t.Errorf("by its new name it is %s, %v", found.ID, err)
			}
			if _, err := r.Find("one"); !errors.Is(err, containers.ErrNone) {
				t.Errorf("by its old name: %v", err)
			}
			if err := r.Delete(found); err != nil {
				t.Fatal(err)
			}
			if all, err := r.List(); len(all) > 0 || err != nil {
				t.Errorf("left are %v, %v", all, err)
			}
		})
	}
}

func TestAMountIsThereUntilItIsTakenBack(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, store.Options{Driver: "overlay"})
	r := containers.New(d.Store)
	c, err := r.Create("c", "")
	if err != nil {
		t.Fatal(err)
	}
	at := func(want string) {
		t.Helper()
		if got, err := r.MountedAt(c); got != want || err != nil {
			t.Errorf("mounted at %q, %v, want %q", got, err, want)
		}
	}
	at("")
	dir, err := r.Mount(c)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Write(t, filepath.Join(dir, "f"), "x")
	if _, err := r.Mount(c); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{dir, ""} {
		if err := r.Unmount(c, false); err != nil {
			t.Fatal(err)
		}
		at(left)
	}
}

func TestOneAtATimeWorksOnAContainer(t *testing.T) {
	t.Parallel()
	d := storetest.Open(t, store.Options{Driver: "vfs"})
	r := containers.New(d.Store)
	never := func() { t.Error("somebody else has the lock") }
	unlock, err := r.Lock(t.Context(), "c", never)
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.Lock(t.Context(), "d", never)
	if err != nil {
		t.Fatal(err)
	}
	stopped := errors.New("stopped")
	ctx, stop := context.WithCancelCause(t.Context())
	waited := 0
	if _, err := r.Lock(ctx, "c", func() { waited++; stop(stopped) }); !errors.Is(err, stopped) || waited != 1 {
		t.Errorf("%v, waited %d times", err, waited)
	}
	// Who waited for a container that is gone by then gets the lock of the next one of that ID.
	next := make(chan error, 1)
	began := make(chan struct{})
	go func() {
		free, err := r.Lock(t.Context(), "c", func() { close(began) })
		if err == nil {
			err = free()
		}
		next <- err
	}()
	<-began
	if err := errors.Join(r.DropLock("c"), unlock(), <-next, other(), r.DropLock("c"), r.DropLock("none")); err != nil {
		t.Error(err)
	}
}

func TestTheNameOfAContainerBeginsWithTheImages(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]string{
		"localhost/app:1": "app", "registry:5000/a/b@sha256:x": "b", "debian": "debian", "": "",
	} {
		if got := containers.Base(image); got != want {
			t.Errorf("%s: %q", image, got)
		}
	}
}
