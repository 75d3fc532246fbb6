package build_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(m.Run, build.HandleReexec)) }

// newSession is a session on a store of its own.
func newSession(t *testing.T) *build.Session {
	t.Helper()
	s := build.NewSession(build.SessionOptions{
		Store: build.StoreOptions{Root: t.TempDir(), RunRoot: t.TempDir(), Driver: "overlay"},
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// contextOf is a directory with files.
func contextOf(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// notes keeps what is shown besides steps.
type notes struct {
	mu   sync.Mutex
	said []string
}

func (n *notes) Emit(e progress.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch e := e.(type) {
	case progress.Note:
		n.said = append(n.said, e.Text)
	case progress.StepStarted:
		n.said = append(n.said, e.Name+" "+e.Text)
	}
}

func (n *notes) text() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.said, "\n")
}

func TestBuildsShareASession(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dir := contextOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\nCOPY b /\n", "a": "1", "b": "2"})
	first, err := build.Build(t.Context(), s, build.Request{Context: dir, Tags: []string{"first"}})
	if err != nil || first.Cached != 0 || first.Steps != 2 {
		t.Fatalf("the first build: %+v, %v", first, err)
	}
	second, err := build.Build(t.Context(), s, build.Request{Context: dir, Tags: []string{"second"}})
	if err != nil || second.Cached != 2 || second.ImageID != first.ImageID {
		t.Errorf("the second build: %+v, %v; want all of %s from the cache", second, err, first.ImageID)
	}
}

func TestBuildsRunAtOnceInASession(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	// A base that all are built on is made by the build that comes to it first.
	base := contextOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /base\n"})
	const many = 6
	var building sync.WaitGroup
	for i := range many {
		dir := contextOf(t, map[string]string{
			"Dockerfile": "FROM base\nCOPY mine /\nCOPY same /\n", "mine": fmt.Sprint(i), "same": "same",
		})
		building.Go(func() {
			_, c, err := build.ParseContext("base=target:" + base)
			if err != nil {
				t.Error(err)
				return
			}
			var out bytes.Buffer
			res, err := build.Build(t.Context(), s, build.Request{
				Context: dir, Tags: []string{fmt.Sprint("app", i)}, Stdout: &out,
				Contexts: map[string]build.NamedContext{"base": c},
				Outputs:  []export.Spec{{Type: export.TypeTar, Dest: export.Stdout}},
			})
			if err != nil || res.Steps != 2 {
				t.Errorf("build %d: %+v, %v", i, res, err)
			}
			if got := fileIn(t, &out, "mine"); got != fmt.Sprint(i) {
				t.Errorf("build %d has written the files of %q", i, got)
			}
		})
	}
	building.Wait()
	usage, err := reclaim.UsageIn(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range usage.Kinds {
		if kind.Kind == "images" && kind.Count < many {
			t.Errorf("there are %d images", kind.Count)
		}
	}
}

// fileIn is the content of a file of an archive.
func fileIn(t *testing.T, archive io.Reader, name string) string {
	t.Helper()
	for r := tar.NewReader(archive); ; {
		h, err := r.Next()
		if err != nil {
			return err.Error()
		}
		if strings.TrimPrefix(h.Name, "./") == name {
			text, err := io.ReadAll(r)
			if err != nil {
				t.Error(err)
			}
			return string(text)
		}
	}
}

func TestAFailedBuildLeavesTheSessionToOthers(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dir := contextOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY a /\n", "bad": "FROM scratch\nCOPY none /\n",
		"a": "1"})
	_, err := build.Build(t.Context(), s, build.Request{Context: dir, Dockerfile: filepath.Join(dir, "bad")})
	failed := new(build.StepError)
	if !errors.As(err, &failed) || failed.Location.StartLine != 2 || failed.Step != "1/1" {
		t.Errorf("the failed build: %v", err)
	}
	if _, err := build.Build(t.Context(), s, build.Request{Context: dir}); err != nil {
		t.Errorf("the next build: %v", err)
	}
}

func TestTheSourceDateOfTheDockerfileHoldsForItsImageOnly(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	dated := contextOf(t, map[string]string{
		"Dockerfile": "ARG SOURCE_DATE_EPOCH=1000\nFROM scratch\nCOPY Dockerfile /\n"})
	undated := contextOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	request := build.Request{Context: dated}
	for range 2 {
		if _, err := build.Build(t.Context(), s, request); err != nil {
			t.Fatal(err)
		}
		if request.SourceDate != nil {
			t.Fatalf("the request was given the date %v", request.SourceDate)
		}
		request.Context = undated
	}
	wrong := "never"
	_, err := build.Build(t.Context(), s, build.Request{Context: undated,
		BuildArgs: map[string]*string{"SOURCE_DATE_EPOCH": &wrong}})
	if err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH=never: must be seconds since 1970") {
		t.Errorf("a date that is none: %v", err)
	}
}

func TestWhatNoBuildCanDoIsRefusedBeforeTheStoreIsMade(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "store")
	s := build.NewSession(build.SessionOptions{Store: build.StoreOptions{Root: root}})
	for name, req := range map[string]build.Request{
		"a name that is none":  {Tags: []string{"A B"}},
		"a limit that is none": {Run: build.RunOptions{Limits: []string{"nofile=many"}}},
	} {
		if _, err := build.Build(t.Context(), s, req); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a store: %v", err)
	}
}

func TestLookingAtADockerfileOpensNothing(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "store")
	s := build.NewSession(build.SessionOptions{Store: build.StoreOptions{Root: root}})
	dir := contextOf(t, map[string]string{
		"Dockerfile": "ARG A=1\nFROM scratch AS one\nCOPY . /\nFROM busybox as two\nRUN true\n"})
	req := build.Request{Context: dir}
	res, err := build.Check(t.Context(), s, req, build.LookLocal)
	if err != nil || res.Err != nil || len(res.Warnings) == 0 {
		t.Errorf("check: %+v, %v", res, err)
	}
	outline, err := build.Outline(t.Context(), s, build.Request{Context: dir, Target: "one"}, build.LookLocal)
	if err != nil || outline.WriteText(io.Discard) != nil {
		t.Errorf("outline: %v", err)
	}
	targets, err := build.Targets(t.Context(), s, req)
	var text strings.Builder
	if err == nil {
		err = targets.WriteText(&text)
	}
	if err != nil || !strings.Contains(text.String(), "one") || !strings.Contains(text.String(), "two") {
		t.Errorf("targets: %q, %v", text.String(), err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a store: %v", err)
	}
	broken := contextOf(t, map[string]string{"Dockerfile": "FORM scratch\n"})
	res, err = build.Check(t.Context(), s, build.Request{Context: broken}, build.LookLocal)
	if placed := new(dockerfile.Error); err != nil || !errors.As(res.Err, &placed) {
		t.Errorf("a Dockerfile that is none: %+v, %v", res, err)
	}
}

func TestAStoreThatIsNotThereHoldsNothing(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "store")
	s := build.NewSession(build.SessionOptions{Store: build.StoreOptions{Root: root}})
	usage, err := reclaim.UsageIn(t.Context(), s)
	if err != nil || len(usage.Items) != 0 {
		t.Errorf("it holds %v, %v", usage.Items, err)
	}
	gone, err := reclaim.PruneIn(t.Context(), s, reclaim.PruneRequest{})
	if err != nil || len(gone) != 0 {
		t.Errorf("removed %v, %v", gone, err)
	}
	if _, err := os.Lstat(root); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("there is a store: %v", err)
	}
}

func TestArgumentsOfBuildKitThatDoNothingAreNamed(t *testing.T) {
	t.Parallel()
	said, on, off := new(notes), "1", "0"
	dir := contextOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /\n"})
	_, err := build.Build(t.Context(), newSession(t), build.Request{Context: dir, Progress: said,
		BuildArgs: map[string]*string{"BUILDKIT_INLINE_CACHE": &on, "BUILDKIT_MULTI_PLATFORM": &off}})
	if err != nil || !strings.Contains(said.text(), "BUILDKIT_INLINE_CACHE has no effect") ||
		strings.Contains(said.text(), "MULTI_PLATFORM") {
		t.Errorf("said %q, %v", said.text(), err)
	}
}

func TestABuildForABaseIsShownAsItsOwn(t *testing.T) {
	t.Parallel()
	said := new(notes)
	base := contextOf(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY Dockerfile /base\n"})
	dir := contextOf(t, map[string]string{"Dockerfile": "FROM base\nCOPY Dockerfile /\n"})
	_, c, err := build.ParseContext("base=target:" + base)
	if err != nil {
		t.Fatal(err)
	}
	_, err = build.Build(t.Context(), newSession(t), build.Request{Context: dir, Progress: said,
		Contexts: map[string]build.NamedContext{"base": c}})
	if err != nil || !strings.Contains(said.text(), "["+base+"] [1/1] COPY Dockerfile /base") {
		t.Errorf("said %q, %v", said.text(), err)
	}
}

func TestNothingIsBuiltInAClosedSession(t *testing.T) {
	t.Parallel()
	s := newSession(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := build.Build(t.Context(), s, build.Request{Context: t.TempDir()}); !errors.Is(err, session.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestBuildsTogetherDoEqualStepsOnce(t *testing.T) {
	s := newSession(t)
	dir := contextOf(t, map[string]string{
		"a": "a", "b": "b",
		"one": "FROM scratch\nCOPY a /\nWORKDIR /x\nCOPY b /one\n",
		"two": "FROM scratch\nCOPY a /\nWORKDIR /x\nCOPY b /two\n",
	})
	for _, c := range []struct {
		name     string
		together *build.Together
		ran      int
	}{
		{"alone, without a cache", nil, 6},
		{"together, without a cache", build.NewTogether(), 4},
	} {
		var all sync.WaitGroup
		var mu sync.Mutex
		ran := 0
		for _, file := range []string{"one", "two"} {
			all.Go(func() {
				res, err := build.Build(t.Context(), s, build.Request{
					Context: dir, Dockerfile: filepath.Join(dir, file), NoCache: true, Together: c.together,
				})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				ran += res.Steps - res.Cached
			})
		}
		all.Wait()
		if ran != c.ran {
			t.Errorf("%s: %d steps ran, want %d", c.name, ran, c.ran)
		}
	}
}

func TestAnImageThatWasBuiltBeforeIsANamedContext(t *testing.T) {
	s := newSession(t)
	dir := contextOf(t, map[string]string{"a": "a", "one": "FROM scratch\nCOPY a /\n",
		"two": "FROM base\nCOPY --from=base a b\n"})
	base, err := build.Build(t.Context(), s, build.Request{Context: dir, Dockerfile: filepath.Join(dir, "one")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = build.Build(t.Context(), s, build.Request{
		Context: dir, Dockerfile: filepath.Join(dir, "two"), Pull: build.PullAlways,
		Contexts: map[string]build.NamedContext{"base": {Kind: plan.ContextBuilt, Ref: base.ImageID.String()}},
	})
	if err != nil {
		t.Error(err)
	}
}
