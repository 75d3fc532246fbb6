package roottest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/storetest"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
)

// Build is a build in a store that is the test's own.
type Build struct {
	*rootfs.Roots
	Depot *depot.Depot
	Cache *cache.Cache
	Shown *Events
	// failed are the errors that commits have ended with.
	failed *[]error
	close  func() error
}

// New begins a build in a new store, such as one of storetest.Drivers. Of the options it sets what is nil. At the end
// of the test it is closed, and nothing that it has made for itself may be left.
func New(t *testing.T, in store.Options, o rootfs.Options) *Build {
	t.Helper()
	in.Root = t.TempDir()
	d := storetest.Open(t, in)
	t.Cleanup(func() {
		if left := leftovers(t, in.Root, d.Store); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	records, err := cache.Open(d.Store.Paths().Cache())
	if err != nil {
		t.Fatal(err)
	}
	return begin(t, d, records, o)
}

// Again begins another build in the same store. The first one may still run.
func (b *Build) Again(t *testing.T, o rootfs.Options) *Build {
	t.Helper()
	return begin(t, b.Depot, b.Cache, o)
}

func begin(t *testing.T, d *depot.Depot, records *cache.Cache, o rootfs.Options) *Build {
	t.Helper()
	b := &Build{Depot: d, Cache: records, Shown: &Events{}, failed: new([]error)}
	o.Store, o.Cache, o.Progress, o.Shown = d.Store, records, b.Shown, progress.NewAsides(b.Shown)
	if o.Fail == nil {
		var mu sync.Mutex
		o.Fail = func(_ *plan.Step, err error) error {
			mu.Lock()
			defer mu.Unlock()
			*b.failed = append(*b.failed, err)
			return err
		}
	}
	b.Roots = rootfs.New(o)
	b.close = sync.OnceValue(func() error { _ = b.Wait(); return b.Roots.Close() })
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Close ends the build before the test ends.
func (b *Build) Close() error { return b.close() }

// Failed are the errors that the build was told of; it is for builds whose commits have ended.
func (b *Build) Failed() []error { return *b.failed }

// leftovers are what builds keep for themselves: directories that steps write to, and temporary ones.
func leftovers(t *testing.T, root string, st *store.Store) (left []string) {
	t.Helper()
	for _, pattern := range []string{
		filepath.Join(st.Paths().Own, "tmp", "*", "*"), filepath.Join(root, "overlay", "staging", "*", "*"),
		filepath.Join(root, "*", "cooper-*"),
	} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, names...)
	}
	return left
}

// Do has a step done on a root, or taken from the cache, and waits until its layer is in the store.
func (b *Build) Do(t *testing.T, below *rootfs.Root, w rootfs.Work) (r *rootfs.Root, cached bool) {
	t.Helper()
	r, cached, err := b.Make(t.Context(), &plan.Step{Text: "RUN x"}, below, w)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Wait(); err != nil { // the records, too
		t.Fatal(err)
	}
	return r, cached
}

// List is what a root holds: each path with its content, or where it is a link to.
func (b *Build) List(t *testing.T, r *rootfs.Root) string {
	t.Helper()
	view, err := b.View(t.Context(), r, rootfs.NS{})
	if err != nil {
		t.Fatal(err)
	}
	dir, release := view.Dir, view.Release
	defer func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	}()
	if dir == nil {
		return ""
	}
	return List(t, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
}

// List is what a directory holds.
func List(t *testing.T, root string) string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(root), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || path == ".":
			return err
		case d.IsDir():
			all = append(all, path+"/")
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(filepath.Join(root, path))
			all = append(all, path+"->"+to)
			return err
		case !d.Type().IsRegular():
			all = append(all, path+" "+d.Type().String())
			return nil
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		all = append(all, path+"="+string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// Events are what a build shows. They are safe for concurrent use.
type Events struct {
	// Told is called with each event as text; nil: nothing is. It is set before the build begins.
	Told func(text string)

	mu  sync.Mutex
	all []string
}

var _ progress.Sink = (*Events)(nil)

// Emit keeps an event as text.
func (e *Events) Emit(event progress.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	text := fmt.Sprintf("%T %+v", event, event)
	if output, ok := event.(progress.StepOutput); ok {
		text = "output " + string(output.Data)
	}
	e.all = append(e.all, text)
	if e.Told != nil {
		e.Told(text)
	}
}

// Text is all of them, one a line.
func (e *Events) Text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.all, "\n")
}

// Plant makes files of PATH=TEXT, links of PATH->TARGET and directories of PATH/ in a directory.
func Plant(dir string, files ...string) error {
	for _, f := range files {
		path := filepath.Join(dir, f)
		if strings.HasSuffix(f, "/") {
			if err := os.MkdirAll(path, 0o755); err != nil {
				return err
			}
			continue
		}
		name, to, isLink := strings.Cut(f, "->")
		if !isLink {
			name, to, _ = strings.Cut(f, "=")
		}
		path = filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(to, path)
		default:
			err = errors.Join(os.WriteFile(path, []byte(to), 0o600), os.Chmod(path, 0o644))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
