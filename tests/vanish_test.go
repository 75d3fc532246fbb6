package tests_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestBuildFailsIfALayerVanishesUnderAStep removes the base as a tool would that knows nothing of cooper. What the step
// saw then is no longer what its cache key says. The store's record of the layer stays, so that to build again doesn't
// help.
func TestBuildFailsIfALayerVanishesUnderAStep(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		gone := strings.TrimSpace(s.run(t, "podman", "image", "inspect", "--format={{.GraphDriver.Data.UpperDir}}", "base"))
		s.whileStepRuns(t, m.remover(), "rm", "-r", gone).fails(t, 1, "has removed layer", "build again")
		s.checkNoLeftovers(t)
	})
}

// TestBuildGoesOnIfItsLayersAreRemoved has podman remove what a running build stands on, and clean up after itself:
// podman before 5 deletes whatever is in the place for layers that are being made.
func TestBuildGoesOnIfItsLayersAreRemoved(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "below/Containerfile", "FROM base\nRUN echo below >/below\n")
		s.build(t, "-t", "below", "below")
		r := s.whileStepRuns(t, nil, "podman", "rmi", "--force", "below")
		if r.Code != 0 || !strings.Contains(r.Stderr, "building again") {
			t.Fatalf("status %d\n%s", r.Code, tail(r.Stderr))
		}
		if got := s.run(t, "podman", "run", "--rm", "--network=host", "made", "cat", "/below",
			"/made"); got != "below\nmade\n" {
			t.Errorf("the image has %q", got)
		}
		s.checkNoLeftovers(t)
	})
}

// remover runs programs that remove what an ordinary user's build has written.
func (m mode) remover() []string {
	if m.root() {
		return nil
	}
	return []string{suite.cooper, "unshare"}
}

// whileStepRuns builds the image made; while its last step runs, a command of another program.
func (s *site) whileStepRuns(t *testing.T, through []string, command ...string) result {
	t.Helper()
	s.mkdir(t, "sync")
	for _, name := range []string{"sync/ready", "sync/go"} {
		if err := syscall.Mkfifo(s.path(name), 0o666); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.path(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	s.write(t, "ctx/Containerfile", `FROM base
RUN echo below >/below
RUN test -e /sync/went || { echo >/sync/ready; read _ </sync/go; }; echo made >/made
`)
	cmd := s.command(suite.cooper, "build", "--no-cache", "-t", "made", "-v", s.path("sync")+":/sync", "ctx")
	done := make(chan result, 1)
	go func() { done <- runCommand(t, cmd) }()
	s.run(t, "sh", "-c", "read _ <sync/ready")
	command = append(through, command...)
	s.run(t, command[0], command[1:]...)
	s.write(t, "sync/went", "")
	s.run(t, "sh", "-c", "echo >sync/go")
	return <-done
}

// TestAsRootPodmanMountsTheDriversDirectory has the driver's directory mounted over itself in the midst of a build, and
// unmounted in the midst of the next, as real root's podman does when it begins and ends. Neither a rename nor a hard
// link crosses such a mount.
func TestAsRootPodmanMountsTheDriversDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t, suite.modes[0])
	s.busybox(t, "base")
	overlay := s.store() + "/overlay"
	if r := s.whileStepRuns(t, nil, "mount", "--bind", overlay, overlay); r.Code != 0 {
		t.Fatalf("status %d\n%s", r.Code, tail(r.Stderr))
	}
	s.write(t, "link/Containerfile",
		"FROM base\nARG N\nRUN echo $N >/n\nCOPY --link Containerfile /linked\nRUN test -e /linked\n")
	s.build(t, "--build-arg=N=1", "link")
	s.build(t, "--build-arg=N=2", "link")
	if err := os.RemoveAll(s.path("sync")); err != nil {
		t.Fatal(err)
	}
	if r := s.whileStepRuns(t, nil, "umount", overlay); r.Code != 0 {
		t.Fatalf("status %d\n%s", r.Code, tail(r.Stderr))
	}
	s.build(t, "--build-arg=N=3", "link")
	if got := s.run(t, "podman", "run", "--rm", "--network=host", "made", "cat", "/below",
		"/made"); got != "below\nmade\n" {
		t.Errorf("the image has %q", got)
	}
	s.checkNoLeftovers(t)
}
