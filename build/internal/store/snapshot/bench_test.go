package snapshot_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(withOthers(m.Run), store.HandleReexec, makeOther, stopHalfway))
}

// otherStore tells a process what store to make: its directory and driver and the driver's options, one a line.
const otherStore = "SNAPSHOT_TEST_OTHER_STORE"

// makeOther makes a store with the base layer in it, if this process was started for that: one that has opened a store
// for writing can't have it as an additional one.
func makeOther() bool {
	text, ok := os.LookupEnv(otherStore)
	if !ok {
		return false
	}
	words := strings.Split(text, "\n")
	o := store.Options{Root: words[0], Driver: words[1], DriverOptions: words[2:]}
	if err := fillOther(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

func fillOther(ctx context.Context, o store.Options) error {
	st, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	room := snapshot.New(st)
	_, err = makeBase(ctx, room)
	return errors.Join(err, room.Close(), st.Close())
}

// makeBase makes a layer: a, of root, b of 7:8, and a directory that others may not look into.
func makeBase(ctx context.Context, room *snapshot.Room) (l store.Layer, err error) {
	s, err := room.Prepare(ctx, snapshot.Layers(nil))
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, s.Remove()) }()
	dir, _ := s.Files()
	if err := errors.Join(put(dir, "a", 0, 0), put(dir, "b", 7, 8), os.Mkdir(filepath.Join(dir, "dir"), 0o700),
		put(dir, "dir/c", 0, 0), settle(filepath.Join(dir, "dir"))); err != nil {
		return l, err
	}
	if _, err := s.Read(ctx, snapshot.ReadOptions{}); err != nil {
		return l, err
	}
	return s.Commit(ctx, "")
}

// put writes a file whose text is its name.
func put(dir, name string, uid, gid int) error {
	path := filepath.Join(dir, name)
	return errors.Join(os.WriteFile(path, []byte(filepath.Base(name)), 0o644), os.Chown(path, uid, gid), settle(path))
}

// settle gives a file the time that all have here.
func settle(path string) error {
	when := time.Unix(1_000_000_000, 0)
	return os.Chtimes(path, when, when)
}

// kind is a kind of store, which all have to keep the contract.
type kind struct {
	name string
	o    store.Options
	// elsewhere has the layers that a test begins with lie in an additional image store.
	elsewhere bool
}

func kinds(t *testing.T) []kind {
	t.Helper()
	fuse, err := exec.LookPath("fuse-overlayfs")
	if err != nil {
		t.Fatal(err)
	}
	program := []string{"overlay.mount_program=" + fuse}
	return []kind{
		{"overlay", store.Options{Driver: "overlay"}, false},
		{"overlay by archives", store.Options{Driver: "overlay", Portable: true}, false},
		{"mount program", store.Options{Driver: "overlay", DriverOptions: program}, false},
		{"vfs", store.Options{Driver: "vfs"}, false},
		{"overlay with another store", store.Options{Driver: "overlay"}, true},
		{"overlay by archives with another store", store.Options{Driver: "overlay", Portable: true}, true},
		{"mount program with another store", store.Options{Driver: "overlay", DriverOptions: program}, true},
		{"vfs with another store", store.Options{Driver: "vfs"}, true},
	}
}

// others has the additional stores that the tests of this process share, by their driver and its options: a store
// with another one only reads it. Each is made by the first test that needs it, below dir.
var others struct {
	dir  string
	mu   sync.Mutex
	made map[string]string
}

// withOthers runs tests that may share additional stores.
func withOthers(tests func() int) func() int {
	return func() int {
		dir, err := os.MkdirTemp("", "others")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		others.dir, others.made = dir, map[string]string{}
		code := tests()
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}
}

// otherFor gives the directory of the additional store for stores with these options, which has the layer of makeBase.
func otherFor(t *testing.T, o store.Options) string {
	t.Helper()
	others.mu.Lock()
	defer others.mu.Unlock()
	options := strings.Join(append([]string{o.Driver}, o.DriverOptions...), "\n")
	if dir := others.made[options]; dir != "" {
		return dir
	}
	dir := filepath.Join(others.dir, fmt.Sprint(len(others.made)))
	maker := exec.CommandContext(t.Context(), "/proc/self/exe")
	maker.Env = append(os.Environ(), otherStore+"="+dir+"\n"+options)
	if out, err := maker.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	others.made[options] = dir
	return dir
}

// each runs a test in every kind of store, on the layer of makeBase.
func each(t *testing.T, f func(t *testing.T, b bench, base []store.Layer)) {
	t.Helper()
	for i, k := range kinds(t) {
		if testing.Short() && k.elsewhere != (i%2 == 1) {
			continue // each way to make layers is among the others, half of them with another store
		}
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			o := k.o
			o.Root = t.TempDir()
			if k.elsewhere {
				o.DriverOptions = append(slices.Clone(o.DriverOptions), o.Driver+".imagestore="+otherFor(t, o))
			}
			b := newBench(t, o)
			base, err := makeBase(t.Context(), b.room) // or find it
			if err != nil {
				t.Fatal(err)
			}
			f(t, b, []store.Layer{base})
		})
	}
}

// bench is an open store and a room in it.
type bench struct {
	t    *testing.T
	st   *store.Store
	room *snapshot.Room
}

func newBench(t *testing.T, o store.Options) bench {
	t.Helper()
	st, err := store.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b := bench{t, st, snapshot.New(st)}
	t.Cleanup(func() {
		if err := errors.Join(b.room.Close(), st.Close()); err != nil {
			t.Error(err)
		}
		_ = unix.Unmount(filepath.Join(o.Root, "overlay"), unix.MNT_DETACH)
	})
	return b
}

func on(layers []store.Layer) snapshot.Layers {
	var ids snapshot.Layers
	for _, l := range layers {
		ids = append(ids, l.ID)
	}
	return ids
}

func top(layers []store.Layer) string {
	if len(layers) == 0 {
		return ""
	}
	return layers[len(layers)-1].ID
}

func (b bench) prepare(on snapshot.Below) snapshot.Snapshot {
	b.t.Helper()
	s, err := b.room.Prepare(b.t.Context(), on)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := s.Remove(); err != nil {
			b.t.Error(err)
		}
	})
	return s
}

// run has a step do what f does in the directory that it sees as its root.
func (b bench) run(s snapshot.Snapshot, ns snapshot.NS, f func(root string)) {
	b.t.Helper()
	if err := b.try(s, ns, true, f); err != nil {
		b.t.Fatal(err)
	}
}

func (b bench) try(s snapshot.Snapshot, ns snapshot.NS, keep bool, f func(root string)) error {
	return s.InNamespace(b.t.Context(), ns, func(root executor.Rootfs) (bool, error) {
		dir := root.Dir
		if dir == nil {
			mounted, err := overlay.Mount(overlay.Options{Lower: append(slices.Clone(root.Lower), root.Stubs), Upper: root.Upper,
				Work: root.Work, UserXattr: root.UserXattr, Volatile: root.Volatile})
			if err != nil {
				return false, err
			}
			defer mounted.Close()
			dir = mounted
		}
		f(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
		if !keep {
			return true, errAgain
		}
		return true, nil
	})
}

// errAgain is that of a step after which another one is run in the same snapshot.
var errAgain = errors.New("again")

// commit makes a layer of what is in a snapshot.
func (b bench) commit(s snapshot.Snapshot, parent string) (store.Layer, layer.Result) {
	b.t.Helper()
	res, err := s.Read(b.t.Context(), snapshot.ReadOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	l, err := s.Commit(b.t.Context(), parent)
	if err != nil {
		b.t.Fatal(err)
	}
	l.DiffID = res.DiffID
	return l, res
}

// add makes a layer of what a step does.
func (b bench) add(below []store.Layer, f func(root string)) []store.Layer {
	b.t.Helper()
	s := b.prepare(on(below))
	b.run(s, snapshot.NS{}, f)
	l, _ := b.commit(s, top(below))
	return append(slices.Clone(below), l)
}

func (b bench) must(errs ...error) {
	b.t.Helper()
	if err := errors.Join(errs...); err != nil {
		b.t.Fatal(err)
	}
}

func (b bench) owner(path string) string {
	b.t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d:%d", st.Uid, st.Gid)
}

// archive is a layer's.
func (b bench) archive(l store.Layer) []byte {
	b.t.Helper()
	rc, err := b.st.LayerTar(l)
	b.must(err)
	text, err := io.ReadAll(rc)
	b.must(err, rc.Close())
	return text
}

// entries are the names and owners in a layer's archive, which has the digest that it should have.
func (b bench) entries(l store.Layer) (all []string) {
	b.t.Helper()
	text := b.archive(l)
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		b.must(err)
		all = append(all, fmt.Sprintf("%s %d:%d", h.Name, h.Uid, h.Gid))
	}
	if got := digest.FromBytes(text); got != l.DiffID {
		b.t.Errorf("the layer is given back as %s, and was %s", got, l.DiffID)
	}
	return all
}

// view calls f with a view's directory.
func (b bench) view(below snapshot.Below, ns snapshot.NS, f func(dir string)) {
	b.t.Helper()
	v, err := b.room.View(b.t.Context(), below, ns)
	b.must(err)
	if v.Dir == nil {
		f("")
	} else {
		f(fmt.Sprintf("/proc/self/fd/%d", v.Dir.Fd()))
	}
	b.must(v.Release())
}

// shifted is a namespace whose files get their owners by chown.
func shifted() snapshot.NS {
	ids := userns.Map{{Container: 0, Host: 1000, Length: 500}}
	return snapshot.NS{Mapping: &userns.Mapping{UIDs: ids, GIDs: ids}, Shifted: true}
}
