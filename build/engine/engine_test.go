package engine_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/engine"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/userns/usertest"
)

func TestMain(m *testing.M) { os.Exit(usertest.Main(m.Run, build.HandleReexec)) }

// fake is an engine that takes archives.
type fake struct {
	root, refusal string
	mu            sync.Mutex
	loaded        [][]string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/info":
		fmt.Fprintf(w, `{"DockerRootDir":%q}`, f.root)
	case "/images/load":
		var names []string
		for archive := tar.NewReader(r.Body); ; {
			h, err := archive.Next()
			if err != nil {
				break
			}
			names = append(names, h.Name)
			if h.Name == "manifest.json" {
				text, _ := io.ReadAll(archive)
				names = append(names, string(text))
			}
		}
		f.mu.Lock()
		f.loaded = append(f.loaded, names)
		f.mu.Unlock()
		if f.refusal != "" {
			fmt.Fprintf(w, "{\"stream\":\"x\"}\n{\"error\":%q}\n", f.refusal)
		}
	default:
		http.NotFound(w, r)
	}
}

// serve has the engine listen at a socket.
func (f *fake) serve(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: f}
	done := make(chan struct{})
	go func() { _ = server.Serve(l); close(done) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "unix://" + path
}

// built is an image in a store of its own.
func built(t *testing.T) (s *build.Session, root string, res build.Result) {
	t.Helper()
	root = t.TempDir()
	s = build.NewSession(build.SessionOptions{
		Store: build.StoreOptions{Root: root, RunRoot: t.TempDir(), Driver: "overlay"},
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	res, err := build.Build(t.Context(), s, build.Request{
		Context: t.TempDir(), Dockerfile: build.Stdin, Stdin: strings.NewReader("FROM scratch\nWORKDIR /a\n"),
		Tags: []string{"app"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, root, res
}

func load(ctx context.Context, t *testing.T, host string, s *build.Session, all ...build.Result) error {
	t.Helper()
	conn, err := engine.Dial(ctx, host)
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(conn)
	for _, res := range all {
		if err := e.Load(ctx, s, res.ImageID.String(), res.Names, progress.Discard{}); err != nil {
			return errors.Join(err, e.Close())
		}
	}
	return e.Close()
}

func TestAnEngineGetsImagesOverOneConnection(t *testing.T) {
	s, root, res := built(t)
	f := &fake{root: "/var/lib/docker"}
	if err := load(t.Context(), t, f.serve(t), s, res, res); err != nil {
		t.Fatal(err)
	}
	if len(f.loaded) != 2 || !strings.Contains(strings.Join(f.loaded[1], " "), `"RepoTags":["localhost/app:latest"]`) {
		t.Errorf("it got %q", f.loaded)
	}

	same := &fake{root: root}
	if err := load(t.Context(), t, same.serve(t), s, res); err != nil || len(same.loaded) > 0 {
		t.Errorf("an engine on the same store gets %q, %v", same.loaded, err)
	}
	full := &fake{refusal: "no space left"}
	if err := load(t.Context(), t, full.serve(t), s, res); err == nil || err.Error() != "docker's engine: no space left" {
		t.Errorf("an engine that refuses: %v", err)
	}
}

func TestWhereNobodyListensIsNoEngine(t *testing.T) {
	t.Parallel()
	_, err := engine.Dial(t.Context(), "unix://"+filepath.Join(t.TempDir(), "none"))
	if !errors.Is(err, engine.ErrNoEngine) {
		t.Errorf("a socket that isn't there: %v", err)
	}
	for _, host := range []string{"ssh://h", "npipe:////./pipe/docker_engine", "unix://", "/var/run/docker.sock"} {
		if _, err := engine.Dial(t.Context(), host); err == nil || errors.Is(err, engine.ErrNoEngine) {
			t.Errorf("%s: %v", host, err)
		}
	}
}
