package tests_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestBuildFailsIfALayerVanishesUnderAStep removes the base as a tool would that knows nothing of cooper. What the step saw then is no
// longer what its cache key says.
func TestBuildFailsIfALayerVanishesUnderAStep(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.mkdir(t, "sync")
		for _, name := range []string{"sync/ready", "sync/go"} {
			if err := syscall.Mkfifo(s.path(name), 0o666); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(s.path(name), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		top := strings.TrimSpace(s.run(t, "podman", "image", "inspect", "--format={{.GraphDriver.Data.UpperDir}}", "base"))
		s.write(t, "ctx/Containerfile", "FROM base\nRUN echo >/sync/ready; read _ </sync/go; echo >/made; true\n")
		cmd := s.command(suite.cooper, "build", "--no-cache", "-t", "never", "-v", s.path("sync")+":/sync", "ctx")
		done := make(chan result, 1)
		go func() { done <- runCommand(t, cmd) }()
		s.run(t, "sh", "-c", "read _ <sync/ready")
		remove := []string{"rm", "-r", top}
		if !m.root() {
			remove = append([]string{suite.cooper, "unshare"}, remove...)
		}
		s.run(t, remove[0], remove[1:]...)
		s.run(t, "sh", "-c", "echo >sync/go")
		(<-done).fails(t, 1, "has removed layer", "build again")
		s.checkNoLeftovers(t)
	})
}
