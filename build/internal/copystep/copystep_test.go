package copystep_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/copystep"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/stepinput/inputtest"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) {
	os.Exit(usertest.Main(m.Run, store.HandleReexec))
}

// build is a build of one context.
type build struct {
	*copystep.Room
	roots   *rootfs.Roots
	context string
}

func newBuild(t *testing.T, files map[string]string) build {
	t.Helper()
	from, dir := inputtest.Open(t, files, rootfs.Identity{})
	return build{copystep.New(copystep.Options{Inputs: from}), from.Roots, dir}
}

// key is what a step is found by on the empty root.
func key(t *testing.T, w rootfs.Work) cache.Key {
	t.Helper()
	k, err := w.Keys()[0](t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func noStep(*plan.Step) *rootfs.Root { return nil }

// read is a file of a root, once that is committed.
func (b build) read(t *testing.T, r *rootfs.Root, name string) string {
	t.Helper()
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	return inputtest.Read(t, b.roots, r, name)
}

func (b build) make(t *testing.T, w rootfs.Work) (*rootfs.Root, bool) {
	t.Helper()
	r, cached, err := b.roots.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), w)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.roots.Wait(); err != nil {
		t.Fatal(err)
	}
	return r, cached
}

func TestTheSameFilesMakeTheSameKeyWhereverTheyLie(t *testing.T) {
	t.Parallel()
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d"}
	one, same, other := newBuild(t, map[string]string{"a": "1"}), newBuild(t, map[string]string{"a": "1", "b": "2"}),
		newBuild(t, map[string]string{"a": "2"})
	first := key(t, one.Copy(&plan.Step{}, op, noStep))
	if k := key(t, same.Copy(&plan.Step{}, op, noStep)); k != first {
		t.Error("the same file has another key")
	}
	if k := key(t, other.Copy(&plan.Step{}, op, noStep)); k == first {
		t.Error("another file has the same key")
	}
	for _, changed := range []plan.Copy{
		{Sources: op.Sources, Dest: "/e"},
		{Sources: op.Sources, Dest: "/d", Chown: "1"},
		{Sources: op.Sources, Dest: "/d", Chmod: "0700"},
		{Sources: op.Sources, Dest: "/d", Unpack: true},
		{Sources: op.Sources, Dest: "/d", Link: true},
		{Sources: op.Sources, Dest: "/d", Parents: true},
		{Sources: op.Sources, Dest: "/d", Excludes: []string{"x"}},
		{Sources: op.Sources, Dest: "/d", Files: []plan.InlineFile{{Path: "f"}}},
	} {
		if k := key(t, one.Copy(&plan.Step{}, &changed, noStep)); k == first {
			t.Errorf("%+v has the key of %+v", changed, op)
		}
	}
}

func TestACopyIsMadeOnce(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "hello"})
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d/"}
	r, cached := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	if got := b.read(t, r, "d/a"); got != "hello" || cached {
		t.Errorf("first: %q, cached %v", got, cached)
	}
	again, cached := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	if !cached || again.Top() != r.Top() {
		t.Errorf("again: layer %s, not %s; cached %v", again.Top(), r.Top(), cached)
	}
}

// meddled is work whose file is changed while it is done.
type meddled struct {
	rootfs.Work
	file string
}

func (m meddled) Exec(ctx context.Context, to *rootfs.Staged) error {
	if err := m.Work.Exec(ctx, to); err != nil {
		return err
	}
	return os.WriteFile(m.file, []byte("longer"), 0o600)
}

func TestFilesThatChangeMeanwhileAreNoticed(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	w := b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a"}, Dest: "/d"}, noStep)
	b.make(t, meddled{w, filepath.Join(b.context, "a")})
	if stable, err := w.Stable(t.Context()); stable || err != nil {
		t.Errorf("stable %v, %v", stable, err)
	}
	if _, cached := b.make(t, b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a"}, Dest: "/d"}, noStep)); cached {
		t.Error("the cache has what was copied of a file that changed")
	}
}

func TestAFileFromElsewhereIsFetchedOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("far"))
	}))
	defer server.Close()
	b := newBuild(t, map[string]string{"a": "near"})
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d/",
		Remotes: []plan.Remote{{Text: "u", URL: server.URL + "/f", Name: "f*", Before: 1}}}
	w := b.Copy(&plan.Step{}, op, noStep)
	key(t, w)
	r, _ := b.make(t, w)
	if got := b.read(t, r, "d/f*") + " " + b.read(t, r, "d/a"); got != "far near" || asked.Load() != 1 {
		t.Errorf("got %q, asked %d times", got, asked.Load())
	}
}

func TestWhatAChecksumSaysIsAskedOfNobody(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{})
	sum := "sha256:" + strings.Repeat("0", 64)
	commit := strings.Repeat("1", 40)
	op := &plan.Copy{Dest: "/d/", Remotes: []plan.Remote{
		{URL: "http://127.0.0.1:1/f", Name: "f", Checksum: sum},
		{Git: remote.Git{Remote: "http://127.0.0.1:1/r.git", Ref: commit}},
	}}
	first := key(t, b.Copy(&plan.Step{}, op, noStep))
	op.Remotes[0].Checksum = "sha256:" + strings.Repeat("2", 64)
	if k := key(t, b.Copy(&plan.Step{}, op, noStep)); k == first {
		t.Error("another checksum has the same key")
	}
}

func TestGitReadsNoDirectoriesUnlessToldOf(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{})
	op := &plan.Copy{Dest: "/d/", Remotes: []plan.Remote{{Text: "r", Git: remote.Git{Remote: "file://" + b.context}}}}
	_, _, err := b.roots.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), b.Copy(&plan.Step{}, op, noStep))
	if err == nil || !strings.Contains(err.Error(), b.context) {
		t.Errorf("got %v", err)
	}
}

func TestWorkdirMakesWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	r, _ := b.make(t, b.Workdir(&plan.Workdir{Path: "/x/y", User: "7:8"}))
	view, err := b.roots.View(t.Context(), r, rootfs.NS{})
	if err != nil {
		t.Fatal(err)
	}
	dir, release := view.Dir, view.Release
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), "x/y", &st, 0); err != nil || st.Uid != 7 || st.Gid != 8 ||
		st.Mode != unix.S_IFDIR|0o755 {
		t.Errorf("%v, of %d:%d, mode %o", err, st.Uid, st.Gid, st.Mode)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if key(t, b.Workdir(&plan.Workdir{Path: "/x"})) == key(t, b.Workdir(&plan.Workdir{Path: "/y"})) {
		t.Error("two paths have one key")
	}
}

func TestTheErrorOfAnUnknownOwnerNamesTheFlag(t *testing.T) {
	t.Parallel()
	b := newBuild(t, map[string]string{"a": "1"})
	op := &plan.Copy{Sources: []string{"a"}, Dest: "/d", Chown: "nobody-here"}
	_, _, err := b.roots.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), b.Copy(&plan.Step{}, op, noStep))
	if err == nil || !strings.HasPrefix(err.Error(), "--chown=nobody-here: ") ||
		!strings.Contains(err.Error(), "hint: make the user") {
		t.Errorf("got %v", err)
	}
}
