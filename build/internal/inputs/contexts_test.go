package inputs

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/plan"
)

// named are contexts with one named context, "n".
func named(t *testing.T, kind plan.ContextKind, ref string) *Contexts {
	t.Helper()
	c, _ := newContexts(t, Options{Context: t.TempDir(), Named: map[string]plan.NamedContext{"n": {Kind: kind, Ref: ref}}})
	return c
}

func TestNamedContextsHoldTheirFiles(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "a=1", ".dockerignore=b\n", "x.tar="+string(tarOf(t, []string{"t=2"})))
	web := serve(t, map[string][]byte{"/x.tgz": zipped(t, tarOf(t, []string{"w=3"})), "/file.txt": []byte("4")})
	for name, test := range map[string]struct {
		kind      plan.ContextKind
		ref, want string
		fleeting  bool
	}{
		"directory": {plan.ContextDirectory, dir + "/.", ".dockerignore=b a=1 x.tar=", false},
		"archive":   {plan.ContextDirectory, dir + "/x.tar", "t=2", true},
		"URL":       {plan.ContextHTTP, web.URL + "/x.tgz", "w=3", true},
		"file":      {plan.ContextHTTP, web.URL + "/file.txt", "context=4", true},
		"git":       {plan.ContextGit, repository(t, "g=5"), "g=5", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := named(t, test.kind, test.ref)
			got, err := c.Get(t.Context(), "n")
			if err != nil {
				t.Fatal(err)
			}
			if all := list(t, got); !strings.HasPrefix(all, test.want) || got.Fleeting != test.fleeting {
				t.Errorf("it holds %q, fleeting %v", all, got.Fleeting)
			}
			if again, err := c.Get(t.Context(), "n"); again != got || err != nil {
				t.Errorf("again it is another one, %v", err)
			}
		})
	}
}

func TestANamedDirectoryHasItsIgnoreFile(t *testing.T) {
	t.Parallel()
	c := named(t, plan.ContextDirectory, plant(t, t.TempDir(), ".dockerignore=b\n", "b=1"))
	got, err := c.Get(t.Context(), "n")
	if err != nil || got.Dir.Ignore() == nil || !got.Dir.Ignore().HidesSource("b") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestAFileOfAURLIsAsItsServerSays(t *testing.T) {
	t.Parallel()
	web := serve(t, map[string][]byte{"/x": []byte("text")})
	c := named(t, plan.ContextHTTP, web.URL+"/x")
	got, err := c.Get(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	f, err := got.Dir.Open("context")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if want := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC); err != nil || !info.ModTime().Equal(want) ||
		info.Mode() != 0o600 {
		t.Errorf("%v, %v, %v", info.ModTime(), info.Mode(), err)
	}
}

// TestAFailedContextStaysFailed has each leave nothing behind, which newContexts looks for.
func TestAFailedContextStaysFailed(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), ".dockerignore=[\n", "a.tar="+string(tarOf(t, []string{".dockerignore=[\n"})))
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "no", http.StatusForbidden)
	}))
	defer web.Close()
	for name, test := range map[string]struct {
		kind      plan.ContextKind
		ref, want string
	}{
		"nothing there":     {plan.ContextDirectory, dir + "/nothing", "no such file or directory"},
		"forbidden":         {plan.ContextHTTP, web.URL, "403"},
		"an ignore file":    {plan.ContextDirectory, dir, ".dockerignore:1: "},
		"one of an archive": {plan.ContextDirectory, dir + "/a.tar", ".dockerignore:1: "},
		"an image": {plan.ContextImage, "busybox", `a context of kind "` + string(plan.ContextImage) +
			`" has no files of its own`},
		"no repository": {plan.ContextGit, "not a repository", "has no files of its own"},
		"a git option":  {plan.ContextGit, "ssh://-oProxyCommand=x/y", "-oProxyCommand"},
	} {
		t.Run(name, func(t *testing.T) {
			c := named(t, test.kind, test.ref)
			for range 2 {
				_, err := c.Get(t.Context(), "n")
				if err == nil || !strings.HasPrefix(err.Error(), `open context "n": `) ||
					!strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
			}
		})
	}
	if asked.Load() != 1 {
		t.Errorf("the server was asked %d times", asked.Load())
	}
}

func TestManyWantOneContextAtOnce(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte("text"))
	}))
	defer web.Close()
	c := named(t, plan.ContextHTTP, web.URL+"/x")
	var group sync.WaitGroup
	var all sync.Map
	for range 8 {
		group.Go(func() {
			got, err := c.Get(t.Context(), "n")
			if err != nil {
				t.Error(err)
				return
			}
			all.Store(got.Dir, true)
		})
	}
	group.Wait()
	different := 0
	all.Range(func(any, any) bool { different++; return true })
	if asked.Load() != 1 || different != 1 {
		t.Errorf("asked %d times, %d contexts", asked.Load(), different)
	}
}

// slowServer answers when told to, and tells when somebody has asked.
func slowServer(t *testing.T) (url string, asked <-chan struct{}, answer func()) {
	t.Helper()
	came, let := make(chan struct{}, 8), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		select {
		case <-let:
		case <-r.Context().Done():
		}
		_, _ = w.Write([]byte("text"))
	}))
	t.Cleanup(s.Close)
	return s.URL + "/x", came, sync.OnceFunc(func() { close(let) })
}

// TestABuildThatStartsAnewOpensWhatTheFirstHasNot is what happens after another program removed layers: the build's
// context ends while a download is under way.
func TestABuildThatStartsAnewOpensWhatTheFirstHasNot(t *testing.T) {
	t.Parallel()
	url, asked, answer := slowServer(t)
	c := named(t, plan.ContextHTTP, url)
	removed := errors.New("layers were removed")
	ctx, cancel := context.WithCancelCause(t.Context())
	first := make(chan error)
	go func() {
		_, err := c.Get(ctx, "n")
		first <- err
	}()
	<-asked
	cancel(removed)
	if err := <-first; err == nil {
		t.Error("the first build has the context")
	}
	answer()
	got, err := c.Get(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	if all := list(t, got); all != "context=text" {
		t.Errorf("it holds %s", all)
	}
}

func TestWhoWaitsForAnothersDownloadCanBeInterrupted(t *testing.T) {
	t.Parallel()
	url, asked, answer := slowServer(t)
	c := named(t, plan.ContextHTTP, url)
	first := make(chan error)
	go func() {
		_, err := c.Get(t.Context(), "n")
		first <- err
	}()
	<-asked
	stopped := errors.New("stopped by the user")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stopped)
	if _, err := c.Get(ctx, "n"); !errors.Is(err, stopped) {
		t.Errorf("got %v", err)
	}
	answer()
	if err := <-first; err != nil {
		t.Errorf("the other one: %v", err)
	}
}

func TestOnlyNamedContextsAreOpenedForAStep(t *testing.T) {
	t.Parallel()
	dir := plant(t, t.TempDir(), "a=1")
	c, _ := newContexts(t, Options{Context: "/nowhere", Named: map[string]plan.NamedContext{
		"n": {Kind: plan.ContextDirectory, Ref: dir}, "unused": {Kind: plan.ContextDirectory, Ref: "/nowhere"},
		"missing": {Kind: plan.ContextDirectory, Ref: dir + "/nothing"}}})
	if err := c.Open(t.Context(), []plan.Input{{Kind: plan.InputContext}, {Kind: plan.InputStep, Step: &plan.Step{}},
		{Kind: plan.InputContext, Name: "n"}}); err != nil {
		t.Error(err)
	}
	if len(c.open) != 1 || c.open["n"] == nil || c.open["n"].Dir == nil {
		t.Errorf("opened: %v", c.open)
	}
	err := c.Open(t.Context(), []plan.Input{{Kind: plan.InputContext, Name: "missing"}})
	if !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), `open context "missing": `) {
		t.Errorf("got %v", err)
	}
}

func TestTokensReachTheirServerAndNothingElse(t *testing.T) {
	t.Parallel()
	const token = "a-token-of-mine"
	var got atomic.Value
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Store(r.Header.Get("Authorization"))
		_, _ = w.Write([]byte(from))
	}))
	defer web.Close()
	c, shown := newContexts(t, Options{Context: web.URL + "/Dockerfile", Secret: func(id string) ([]byte, bool) {
		return []byte(token), strings.HasPrefix(id, "HTTP_AUTH_TOKEN_")
	}})
	if _, err := c.ReadMain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got.Load() != "Bearer "+token {
		t.Errorf("the server was told %q", got.Load())
	}
	if value, ok := c.Secret("HTTP_AUTH_TOKEN_x"); string(value) != token || !ok {
		t.Errorf("steps are told %q, %v", value, ok)
	}
	if strings.Contains(shown.text(), token) {
		t.Errorf("shown: %s", shown.text())
	}
}

func TestWhatWasFetchedIsKeptForTheNextBuild(t *testing.T) {
	t.Parallel()
	web := serve(t, map[string][]byte{"/Dockerfile": []byte(from)})
	c, _ := newContexts(t, Options{Context: t.TempDir(), Dockerfile: web.URL + "/Dockerfile"})
	if _, err := c.ReadMain(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept, err := c.Fetched()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := c.Fetched(); again != kept || err != nil {
		t.Errorf("it is opened twice, %v", err)
	}
	var files []string
	if err := filepath.WalkDir(c.opener.store.Paths().Remote(), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && filepath.Base(path) == "Dockerfile" {
			files = append(files, path)
		}
		return err
	}); err != nil || len(files) != 1 {
		t.Errorf("kept: %v, %v", files, err)
	}
}
