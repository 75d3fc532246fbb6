package copystep_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/copystep"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// serve gives every path its own text, and counts what is asked.
func serve(t *testing.T, asked *atomic.Int32) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path == "/gone" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(r.URL.Path))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestSourcesAreCopiedInTheOrderInWhichTheyAreWritten(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	url := serve(t, &asked)
	b := newBuild(t, map[string]string{"f": "local"})
	for _, tt := range []struct {
		before int
		want   string
	}{{0, "local"}, {1, "/far"}} {
		op := &plan.Copy{Sources: []string{"f"}, Dest: "/d/",
			Remotes: []plan.Remote{{URL: url + "/far", Name: "f", Before: tt.before}}}
		r, _ := b.make(t, b.Copy(&plan.Step{}, op, noStep))
		if got := b.read(t, r, "d/f"); got != tt.want {
			t.Errorf("after %d of the local sources: %q", tt.before, got)
		}
	}
}

func TestNothingIsWrittenIfASourceCanNotBeFetched(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	url := serve(t, &asked)
	b := newBuild(t, map[string]string{"a": "1"})
	wrong := "sha256:" + strings.Repeat("0", 64)
	for want, r := range map[string]plan.Remote{
		url + "/gone": {URL: url + "/gone", Name: "f"},
		"sha256:":     {URL: url + "/f", Name: "f", Checksum: wrong},
		"refused":     {URL: "http://127.0.0.1:1/f", Name: "f"},
	} {
		r.Before = 1
		w := told{b.Copy(&plan.Step{}, &plan.Copy{Sources: []string{"a"}, Dest: "/d/", Remotes: []plan.Remote{r}}, noStep),
			make(chan string, 1)}
		seen := watched{w, nil}
		_, _, err := b.roots.Make(t.Context(), &plan.Step{}, rootfs.Scratch(), &seen)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if len(seen.left) != 0 {
			t.Errorf("%s: the layer has %q", want, seen.left)
		}
	}
}

// watched is work of which it is seen what it leaves behind.
type watched struct {
	told
	left []string
}

func (w *watched) Exec(ctx context.Context, to *rootfs.Staged) error {
	err := w.told.Exec(ctx, to)
	dir, _ := to.Snap.Files()
	names, listErr := os.ReadDir(dir)
	for _, n := range names {
		w.left = append(w.left, n.Name())
	}
	return errors.Join(err, listErr)
}

func TestAFailedFetchIsNotRepeatedInTheBuild(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	url := serve(t, &asked)
	b := newBuild(t, map[string]string{})
	w := b.Copy(&plan.Step{}, &plan.Copy{Dest: "/d/", Remotes: []plan.Remote{{URL: url + "/gone", Name: "f"}}}, noStep)
	for range 2 {
		if _, err := w.Keys()[0](t.Context(), ""); err == nil {
			t.Error("there is a key")
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the server is asked %d times", asked.Load())
	}
}

func TestTheKeyOfAFetchedFileIsItsContent(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	url := serve(t, &asked)
	b := newBuild(t, map[string]string{})
	of := func(r plan.Remote) cache.Key {
		return key(t, b.Copy(&plan.Step{}, &plan.Copy{Dest: "/d/", Remotes: []plan.Remote{r}}, noStep))
	}
	sum := sha256.Sum256([]byte("/f"))
	checksum := "sha256:" + hex.EncodeToString(sum[:])
	first := of(plan.Remote{URL: url + "/f", Name: "f"})
	if of(plan.Remote{URL: url + "/f?elsewhere", Name: "f"}) != first {
		t.Error("the same file from elsewhere has another key")
	}
	if of(plan.Remote{URL: url + "/f", Name: "f", Checksum: checksum}) != first {
		t.Error("with its checksum it has another key")
	}
	for name, r := range map[string]plan.Remote{
		"another file": {URL: url + "/g", Name: "f"}, "another name": {URL: url + "/f", Name: "g"},
		"unpacked": {URL: url + "/f", Name: "f", Unpack: true},
	} {
		if of(r) == first {
			t.Errorf("%s has the same key", name)
		}
	}
}

func TestAFetchedFileIsUnpackedOnlyIfAsked(t *testing.T) {
	t.Parallel()
	text := archive(t, tarFile("inside"))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(text))
	}))
	defer server.Close()
	b := newBuild(t, map[string]string{})
	for unpack, want := range map[bool]string{false: "d/a.tar", true: "d/inside"} {
		op := &plan.Copy{Dest: "/d/", Remotes: []plan.Remote{{URL: server.URL + "/a.tar", Name: "a.tar", Unpack: unpack}}}
		r, _ := b.make(t, b.Copy(&plan.Step{}, op, noStep))
		if got := b.look(t, r); len(got) != 2 || !strings.HasPrefix(got[1], want+" ") {
			t.Errorf("unpack %v: %q", unpack, got)
		}
	}
}

func TestExcludesLeaveANamedFileAlone(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	b := newBuild(t, map[string]string{"a.txt": "1", "b.txt": "2"})
	op := &plan.Copy{Dest: "/d/", Sources: []string{"."}, Excludes: []string{"*.txt", "Dockerfile"},
		Remotes: []plan.Remote{{URL: serve(t, &asked) + "/c.txt", Name: "c.txt", Before: 1}}}
	r, _ := b.make(t, b.Copy(&plan.Step{}, op, noStep))
	if got := b.look(t, r); len(got) != 2 || !strings.HasPrefix(got[1], "d/c.txt ") {
		t.Errorf("it has %q", got)
	}
}

// repository makes a git repository with a file in a directory, and gives its commit.
func repository(t *testing.T) (dir, commit string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "f"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git",
			append([]string{"-C", dir, "-c", "user.name=n", "-c", "user.email=e@x"},
				args...)...)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("add", ".")
	git("commit", "-q", "-m", "first")
	return dir, git("rev-parse", "HEAD")
}

func TestARepositoryIsCopied(t *testing.T) {
	t.Parallel()
	dir, commit := repository(t)
	b := newBuild(t, map[string]string{})
	b.Room = copystep.New(copystep.Options{Inputs: b.Inputs, ReadDirs: []string{dir}})
	yes := true
	of := func(g remote.Git) *plan.Copy {
		g.Remote, g.Scheme = "file://"+dir, "file"
		return &plan.Copy{Dest: "/d/", Remotes: []plan.Remote{{Text: "repository", Git: g}}}
	}
	keys := map[cache.Key]string{}
	for name, tt := range map[string]struct {
		op   *plan.Copy
		want string
	}{
		"a branch":      {of(remote.Git{Ref: "main"}), "d/sub/f"},
		"a directory":   {of(remote.Git{Ref: "main", Subdir: "sub"}), "d/f"},
		"with its .git": {of(remote.Git{Ref: "main", KeepGitDir: &yes}), "d/.git/HEAD"},
		"commit times":  {of(remote.Git{Ref: "main", CommitTimes: true}), "d/sub/f"},
	} {
		r, _ := b.make(t, b.Copy(&plan.Step{}, tt.op, noStep))
		got := b.look(t, r)
		if !slices.ContainsFunc(got, func(f string) bool { return strings.HasPrefix(f, tt.want+" ") }) {
			t.Errorf("%s: %q", name, got)
		}
		k := key(t, b.Copy(&plan.Step{}, tt.op, noStep))
		if other, ok := keys[k]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		keys[k] = name
	}
	if k := key(t, b.Copy(&plan.Step{}, of(remote.Git{Ref: commit}), noStep)); keys[k] != "a branch" {
		t.Error("the commit has another key than the branch that is at it")
	}
	if got := b.fail(t, b.Copy(&plan.Step{}, of(remote.Git{Ref: "none"}), noStep)); !strings.Contains(got, "none") {
		t.Errorf("a branch that isn't there: %s", got)
	}
}
