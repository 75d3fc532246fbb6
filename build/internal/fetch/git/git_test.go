package git

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/internal/fetch/fetchtest"
	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

func openCache(t *testing.T) *Room {
	t.Helper()
	kept, err := shelf.Open(filepath.Join(t.TempDir(), "fetch"))
	if err != nil {
		t.Fatal(err)
	}
	return New(kept)
}

// reopen gives the same room as another process would have it.
func reopen(c *Room) (*Room, error) {
	kept, err := shelf.Open(c.kept.Path())
	if err != nil {
		return nil, err
	}
	return New(kept), nil
}

// gitServer serves the repositories below a directory over http as git does, and counts requests.
func gitServer(t *testing.T, dir string, auth string) (url string, requests *atomic.Int64) {
	t.Helper()
	path, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := &cgi.Handler{
		Stderr: io.Discard,
		Path:   filepath.Join(strings.TrimSpace(string(path)), "git-http-backend"),
		Env:    []string{"GIT_PROJECT_ROOT=" + dir, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "HOME=/dev/null"},
	}
	requests = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if auth != "" && r.Header.Get("Authorization") != auth {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		backend.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func gitRequest(t *testing.T, text string) Request {
	t.Helper()
	ref, ok, err := remote.ParseGit(text)
	if err != nil || !ok {
		t.Fatalf("%s: %t, %v", text, ok, err)
	}
	return Request{Ref: ref}
}

func (room *Room) mustCheckOut(t *testing.T, r Request) *Checkout {
	t.Helper()
	out, err := room.Tree(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := out.Release(); err != nil {
			t.Error(err)
		}
	})
	return out
}

// listing describes everything below a directory except .git: type and mode, and content or target.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := e.Info()
		if err != nil {
			return err
		}
		if e.Name() == ".git" {
			out[rel] = "git"
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		var content string
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = " " + string(text)
		case info.Mode()&fs.ModeSymlink != 0:
			content, err = os.Readlink(path)
			content = "-> " + content
			out[rel] = content
			return err
		}
		out[rel] = info.Mode().String() + content
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheckoutHasTheFilesOfTheCommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := fetchtest.NewOrigin(t, dir, "x")
	o.Commit("", map[string]string{
		"100644 a": "a", "100755 bin/run": "run", "120000 link": "/etc/passwd", "100644 crlf.txt": "one\n",
		"100644 .gitattributes": "crlf.txt eol=crlf\n",
	}, "refs/heads/main")
	url, _ := gitServer(t, dir, "")
	for _, address := range []string{url + "/x.git", "file://" + dir + "/x.git"} {
		c := openCache(t)
		out := c.mustCheckOut(t, gitRequest(t, address))
		want := map[string]string{
			"a": "-rw-r--r-- a", "bin": "drwxr-xr-x", "bin/run": "-rwxr-xr-x run", "link": "-> /etc/passwd",
			"crlf.txt":       "-rw-r--r-- one\r\n",
			".gitattributes": "-rw-r--r-- crlf.txt eol=crlf\n",
		}
		if diff := cmp.Diff(want, listing(t, out.Dir)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", address, diff)
		}
		if out.Ref != "refs/heads/main" {
			t.Errorf("ref %s", out.Ref)
		}
		if left := fetchtest.Leftovers(t, c.kept); left != nil {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestRefsAreBranchesTagsCommitsAndPullRequests(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := fetchtest.NewOrigin(t, dir, "x")
	first := o.Commit("", map[string]string{"100644 f": "first", "100644 sub/dir/g": "g"})
	second := o.Commit(first, map[string]string{"100644 f": "second"}, "refs/heads/main", "refs/heads/deep/branch")
	both := o.Commit(second, map[string]string{"100644 f": "both"}, "refs/heads/both")
	o.Git("", "update-ref", "refs/tags/both", first)
	o.Git("", "tag", "-a", "-m", "annotated", "v1", first)
	pull := o.Commit(second, map[string]string{"100644 f": "pull"}, "refs/pull/7/head")
	url, _ := gitServer(t, dir, "")
	for n, test := range []struct{ ref, commit, name string }{
		{"", second, "refs/heads/main"},
		{"#main", second, "refs/heads/main"},
		{"#refs/heads/main", second, "refs/heads/main"},
		{"#deep/branch", second, "refs/heads/deep/branch"},
		{"#v1", first, "refs/tags/v1"},
		{"?tag=v1", first, "refs/tags/v1"},
		{"#both", both, "refs/heads/both"},
		{"?tag=both", first, "refs/tags/both"},
		{"#refs/pull/7/head", pull, "refs/pull/7/head"},
		{"#" + second, second, ""},
		{"#" + first, first, ""},
		{"#" + first[:10], first, ""},
		{"?checksum=" + second[:7] + "#main", second, "refs/heads/main"},
		{"?checksum=" + first + "#v1", first, "refs/tags/v1"},
		{"?checksum=" + o.Git("", "rev-parse", "v1") + "#v1", first, "refs/tags/v1"},
		{"?fetch-by-commit&checksum=" + first + "#main", first, "refs/heads/main"},
	} {
		address := []string{url, "file://" + dir}[n%2]
		out := openCache(t).mustCheckOut(t, gitRequest(t, address+"/x.git"+test.ref))
		if out.Commit != test.commit || out.Ref != test.name {
			t.Errorf("%s%s: commit %s, ref %s, want %s, %s", address, test.ref, out.Commit, out.Ref, test.commit, test.name)
		}
	}
	c := openCache(t) // one repository for all
	for ref, want := range map[string]string{"#main": "second", "#v1": "first", "#" + pull[:9]: "pull", "#both": "both"} {
		out := c.mustCheckOut(t, gitRequest(t, url+"/x.git"+ref))
		if text, err := os.ReadFile(filepath.Join(out.Dir, "f")); err != nil || string(text) != want {
			t.Errorf("%s: %q, %v", ref, text, err)
		}
	}
	out := c.mustCheckOut(t, gitRequest(t, url+"/x.git#v1:sub/dir"))
	if diff := cmp.Diff(map[string]string{"g": "-rw-r--r-- g"}, listing(t, out.Dir)); diff != "" {
		t.Error(diff)
	}
}

func TestCheckoutFailuresSayWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fetchtest.NewOrigin(t, dir, "empty")
	o := fetchtest.NewOrigin(t, dir, "x")
	first := o.Commit("", map[string]string{"100644 f": "f", "120000 out": "/etc", "120000 in": "dir", "100644 dir/f": "f",
		"120000 dir/up": "../../../.."}, "refs/heads/main")
	url, _ := gitServer(t, dir, "")
	for ref, want := range map[string]string{
		"/x.git#nothing":                    "no branch, tag or ref nothing",
		"/x.git#abcdef0":                    "no branch, tag or commit abcdef0",
		"/x.git#" + strings.Repeat("1", 40): "111",
		"/x.git?checksum=1234#main":         "expected commit 1234, got " + first,
		"/x.git?checksum=1234#" + first:     "expected commit 1234, got " + first,
		"/x.git#main:missing":               "the repository has no directory missing",
		"/x.git#main:f":                     "f is not a directory",
		"/x.git#main:out":                   "a symbolic link leads to out",
		"/x.git#main:in":                    "a symbolic link leads to in",
		"/x.git#main:dir/up":                "a symbolic link leads to dir/up",
		"/empty.git":                        "no default branch",
		"/none.git":                         "not found",
	} {
		t.Run(ref, func(t *testing.T) {
			t.Parallel()
			c := openCache(t)
			address := strings.Replace(url, "://", "://user:hunter2@", 1) + ref
			out, err := c.Tree(t.Context(), gitRequest(t, address))
			if err == nil {
				t.Fatalf("no error: %+v", out)
			}
			if text := err.Error(); !strings.Contains(text, want) || strings.Contains(text, "hunter2") {
				t.Errorf("%v, want %q and no credentials", err, want)
			}
			if strings.Contains(ref, "1234") != errors.Is(err, shelf.ErrChecksum) {
				t.Errorf("ErrChecksum in %v", err)
			}
			if left := fetchtest.Leftovers(t, c.kept); left != nil {
				t.Errorf("left behind: %v", left)
			}
			fetchtest.HoldsNo(t, c.kept.Path(), "hunter2")
		})
	}
}

func TestMovedBranchIsFetchedAgainAndACommitIsNot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := fetchtest.NewOrigin(t, dir, "x")
	first := o.Commit("", map[string]string{"100644 f": "first"}, "refs/heads/main")
	url, requests := gitServer(t, dir, "")
	c := openCache(t)
	read := func(ref string) string {
		out := c.mustCheckOut(t, gitRequest(t, url+"/x.git"+ref))
		text, err := os.ReadFile(filepath.Join(out.Dir, "f"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if got := read("#main"); got != "first" {
		t.Error(got)
	}
	before := requests.Load()
	if got := read("#" + first); got != "first" || requests.Load() != before {
		t.Errorf("%s after %d more requests", got, requests.Load()-before)
	}
	o.Commit("", map[string]string{"100644 f": "rewritten"}, "refs/heads/main")
	if got := read("#main"); got != "rewritten" {
		t.Error(got)
	}
	if got := read("#" + first); got != "first" {
		t.Error(got)
	}
}

func TestGitDirIsKeptOnRequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sub := fetchtest.NewOrigin(t, dir, "sub")
	subCommit := sub.Commit("", map[string]string{"100644 s": "sub"}, "refs/heads/main")
	o := fetchtest.NewOrigin(t, dir, "x")
	first := o.Commit("", map[string]string{"100644 f": "first"})
	second := o.Commit(first, map[string]string{
		"100644 f": "second", "160000 mod": subCommit,
		"100644 .gitmodules": "[submodule \"mod\"]\n\tpath = mod\n\turl = ../sub.git\n",
	}, "refs/heads/main")
	o.Git("", "tag", "-a", "-m", "annotated", "v1", second)
	url, _ := gitServer(t, dir, "")
	withUser := strings.Replace(url, "://", "://user:hunter2@", 1)
	c := openCache(t)
	for _, ref := range []string{"#main", "#v1", "#" + second} {
		r := gitRequest(t, withUser+"/x.git"+ref)
		r.Ref.KeepGitDir = new(true)
		out := c.mustCheckOut(t, r)
		git := func(dir string, args ...string) string { return o.Command("", append([]string{"-C", dir}, args...)...) }
		got := []string{
			git(out.Dir, "rev-parse", "HEAD"), git(out.Dir, "status", "--porcelain"),
			git(out.Dir, "config", "remote.origin.url"),
			git(out.Dir, "rev-list", "--count", "HEAD"), git(out.Dir+"/mod", "rev-parse", "HEAD"),
			git(out.Dir+"/mod", "status", "--porcelain"),
			git(out.Dir+"/mod", "rev-parse", "--git-dir"),
		}
		want := []string{second, "", url + "/x.git", "1", subCommit, "", out.Dir + "/.git/modules/mod"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", ref, diff)
		}
		named := map[string]string{"#main": "refs/heads/main", "#v1": "refs/tags/v1"}[ref]
		if refs := git(out.Dir, "for-each-ref", "--format=%(refname)"); refs != named {
			t.Errorf("%s: refs %s, want %s", ref, refs, named)
		}
		fetchtest.HoldsNo(t, out.Dir, "hunter2")
	}
	plain := c.mustCheckOut(t, gitRequest(t, withUser+"/x.git#main"))
	want := map[string]string{
		"f": "-rw-r--r-- second", "mod": "drwxr-xr-x", "mod/s": "-rw-r--r-- sub",
		".gitmodules": "-rw-r--r-- [submodule \"mod\"]\n\tpath = mod\n\turl = ../sub.git\n",
	}
	if diff := cmp.Diff(want, listing(t, plain.Dir)); diff != "" {
		t.Errorf("without .git: (-want +got)\n%s", diff)
	}
}

func TestSubmodulesAreFilledAllTheWayDown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	inner := fetchtest.NewOrigin(t, dir, "inner")
	innerCommit := inner.Commit("", map[string]string{"100644 i": "inner"}, "refs/heads/main")
	outer := fetchtest.NewOrigin(t, dir, "outer")
	// Not the tip of a branch any more.
	outerCommit := outer.Commit("", map[string]string{
		"100644 o": "outer", "160000 in": innerCommit,
		"100644 .gitmodules": "[submodule \"in\"]\n\tpath = in\n\turl = ../inner.git\n",
	}, "refs/heads/main")
	outer.Commit(outerCommit, map[string]string{"100644 o": "newer"}, "refs/heads/main")
	o := fetchtest.NewOrigin(t, dir, "x")
	self := o.Commit("", map[string]string{"100644 f": "itself"}, "refs/heads/self")
	o.Commit("", map[string]string{
		"160000 a/b": outerCommit, "160000 self": self, "160000 skipped": innerCommit,
		"100644 .gitmodules": "[submodule \"x\"]\n\tpath = a/b\n\turl = ../outer.git\n[submodule \"self\"]\n\tpath = self\n\turl = ./\n" +
			"[submodule \"skipped\"]\n\tpath = skipped\n\turl = ../inner.git\n\tupdate = none\n",
	}, "refs/heads/main")
	url, _ := gitServer(t, dir, "")
	for _, address := range []string{url, "file://" + dir} {
		c := openCache(t)
		got := listing(t, c.mustCheckOut(t, gitRequest(t, address+"/x.git")).Dir)
		delete(got, ".gitmodules")
		delete(got, "a/b/.gitmodules")
		want := map[string]string{
			"a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "a/b/o": "-rw-r--r-- outer", "a/b/in": "drwxr-xr-x",
			"a/b/in/i": "-rw-r--r-- inner",
			"self":     "drwxr-xr-x", "self/f": "-rw-r--r-- itself", "skipped": "drwxr-xr-x",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", address, diff)
		}
		none := listing(t, c.mustCheckOut(t, gitRequest(t, address+"/x.git?submodules=false")).Dir)
		if _, filled := none["a/b/o"]; filled || none["a/b"] != "drwxr-xr-x" {
			t.Errorf("submodules=false: %v", none)
		}
	}
}

func TestCommitTimesAreGivenToEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fetchtest.NewOrigin(t, dir, "x").Commit("", map[string]string{"100644 d/f": "f", "120000 l": "nowhere"},
		"refs/heads/main")
	out := openCache(t).mustCheckOut(t, gitRequest(t, "file://"+dir+"/x.git?mtime=commit"))
	for _, name := range []string{"", "d", "d/f", "l"} {
		info, err := os.Lstat(filepath.Join(out.Dir, name))
		if err != nil || info.ModTime().Unix() != 1_000_000_000 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestMissingGitIsOneClearError(t *testing.T) {
	t.Parallel()
	c := openCache(t)
	c.Program = "no-such-git"
	_, err := c.Tree(t.Context(), gitRequest(t, "https://example.com/x.git"))
	if !errors.Is(err, ErrNoGit) || !strings.Contains(err.Error(), "apt-get install git") {
		t.Error(err)
	}
}

func TestCancelledFetchLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	because := errors.New("because")
	url, _ := fetchtest.Serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel(because)
		<-r.Context().Done()
	})
	c := openCache(t)
	if _, err := c.Tree(ctx, gitRequest(t, url+"/x.git")); !errors.Is(err, because) {
		t.Errorf("%v, want the cause", err)
	}
	if left := fetchtest.Leftovers(t, c.kept); left != nil {
		t.Errorf("left behind: %v", left)
	}
}

func TestConcurrentCheckoutsShareOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fetchtest.NewOrigin(t, dir, "x").Commit("", map[string]string{"100644 f": "f"}, "refs/heads/main")
	first := openCache(t)
	errs := make(chan error)
	for range 6 {
		go func() {
			c, err := reopen(first) // as another process would
			if err == nil {
				var out *Checkout
				if out, err = c.Tree(t.Context(), gitRequest(t, "file://"+dir+"/x.git")); err == nil {
					_, err = os.ReadFile(filepath.Join(out.Dir, "f"))
					err = errors.Join(err, out.Release())
				}
			}
			errs <- err
		}()
	}
	for range 6 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if trees, _ := os.ReadDir(first.kept.Entry(shelf.Trees, "")); len(trees) != 1 {
		t.Errorf("%d trees", len(trees))
	}
}
