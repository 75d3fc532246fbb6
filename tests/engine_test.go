package tests_test

import (
	"archive/tar"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
)

// dockerGroup is the group that the socket of docker's engine belongs to.
const dockerGroup = 23751

// fakeEngine counts the archives that it is given to load.
type fakeEngine struct {
	mu     sync.Mutex
	loaded int
}

func (e *fakeEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/images/load" {
		fmt.Fprint(w, `{"DockerRootDir":"/var/lib/docker"}`)
		return
	}
	for archive := tar.NewReader(r.Body); ; {
		h, err := archive.Next()
		if err != nil {
			break
		}
		if h.Name == "manifest.json" {
			e.mu.Lock()
			e.loaded++
			e.mu.Unlock()
		}
	}
}

func (e *fakeEngine) since() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := e.loaded
	e.loaded = 0
	return n
}

// listen has the engine listen at a socket that root and the group may use.
func (e *fakeEngine) listen(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: e}
	done := make(chan struct{})
	go func() { _ = server.Serve(l); close(done) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	if os.Getuid() != 0 {
		return
	}
	if err := os.Chown(path, 0, dockerGroup); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		t.Fatal(err)
	}
}

func TestDockersEngineGetsWhatIsLoaded(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Dockerfile", "FROM scratch\nCOPY f /\n")
		s.write(t, "ctx/f", "f")
		s.write(t, "docker-bake.json", `{"target": {"default": {"context": "ctx", "tags": ["baked"]}}}`)
		s.run(t, "ln", "-s", suite.cooper, "docker-buildx")
		var e fakeEngine
		e.listen(t, s.path("sock"))
		engine := "DOCKER_HOST=unix://" + s.path("sock")
		for _, c := range []struct {
			name, program, env string
			args               []string
			loaded             int
			says               string
		}{
			{"asked for", suite.cooper, engine, []string{"build", "--load", "-t", "app", "ctx"}, 1, ""},
			{"not asked for", suite.cooper, engine, []string{"build", "-t", "app", "ctx"}, 0, "DOCKER_HOST="},
			{"as an output", suite.cooper, engine, []string{"build", "-o", "type=docker", "ctx"}, 1, ""},
			{"by docker", "./docker-buildx", engine, []string{"buildx", "build", "ctx"}, 1, ""},
			{"by docker, elsewhere", "./docker-buildx", engine, []string{"buildx", "build", "-o", "out", "ctx"}, 0, ""},
			{"in a bake file", suite.cooper, engine, []string{"bake", "--load"}, 1, ""},
			{"no engine", suite.cooper, "DOCKER_HOST=unix:///nowhere", []string{"build", "--load", "ctx"}, 0,
				"in the local store only: no engine listens at unix:///nowhere"},
			{"over ssh", suite.cooper, "DOCKER_HOST=ssh://h", []string{"build", "--load", "ctx"}, 0, "must be unix://PATH"},
		} {
			cmd := s.command(c.program, c.args...)
			cmd.Env = append(cmd.Env, c.env)
			if cmd.SysProcAttr != nil {
				cmd.SysProcAttr.Credential.Groups = []uint32{uint32(m.GID), dockerGroup}
			}
			r := runCommand(t, cmd)
			if want := c.name == "over ssh"; (r.Code != 0) != want {
				t.Fatalf("%s: status %d\n%s", c.name, r.Code, tail(r.Stderr))
			}
			if n := e.since(); n != c.loaded || !strings.Contains(r.Stderr, c.says) {
				t.Errorf("%s: the engine got %d images, want %d\n%s", c.name, n, c.loaded, tail(r.Stderr))
			}
		}
	})
}
