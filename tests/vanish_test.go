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
		t.Run("layer", func(t *testing.T) {
			testVanishing(t, newSite(t, m), func(s *site) string {
				return strings.TrimSpace(s.run(t, "podman", "image", "inspect", "--format={{.GraphDriver.Data.UpperDir}}", "base"))
			}, "has removed layer", "build again")
		})
		t.Run("step's directory", func(t *testing.T) {
			testVanishing(t, newSite(t, m), func(s *site) string { return s.store() + "/overlay/staging" }, "has removed the step's directory", "podman before 5")
		})
	})
}

// testVanishing has a directory removed while a step runs, and wants texts in the message.
func testVanishing(t *testing.T, s *site, victim func(s *site) string, texts ...string) {
	t.Helper()
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
	gone := victim(s)
	s.write(t, "ctx/Containerfile", "FROM base\nRUN echo >/sync/ready; read _ </sync/go; echo >/made; true\n")
	cmd := s.command(suite.cooper, "build", "--no-cache", "-t", "never", "-v", s.path("sync")+":/sync", "ctx")
	done := make(chan result, 1)
	go func() { done <- runCommand(t, cmd) }()
	s.run(t, "sh", "-c", "read _ <sync/ready")
	remove := []string{"rm", "-r", gone}
	if !s.mode.root() {
		remove = append([]string{suite.cooper, "unshare"}, remove...)
	}
	s.run(t, remove[0], remove[1:]...)
	s.run(t, "sh", "-c", "echo >sync/go")
	(<-done).fails(t, 1, texts...)
	s.checkNoLeftovers(t)
}
