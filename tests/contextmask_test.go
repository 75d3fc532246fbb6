package tests_test

import (
	"os"
	"strings"
	"testing"
)

// TestBindMountOfAContextIsNoCopy has a step wait for a change of a file in its context, which an ignore file hides a
// part of: no copy would ever show that.
func TestBindMountOfAContextIsNoCopy(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		for name, text := range map[string]string{
			".dockerignore": "secret\n", "secret": "x\n", "file": "old\n",
			"Containerfile": "FROM base\nRUN --mount=target=/m test ! -e /m/secret && echo started && until grep -q new /m/file; do sleep 0.05; done\n",
		} {
			s.write(t, "ctx/"+name, text)
		}
		cmd := s.command("timeout", "120", suite.cooper, "build", "--progress=plain", "ctx")
		begun := newWaitFor("started\n")
		cmd.Stderr = begun
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begun.wait(t)
		if err := os.WriteFile(s.path("ctx/file"), []byte("new\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, tail(begun.seen.String()))
		}
		s.checkNoLeftovers(t)
	})
}

// TestAsRootCopyOfAContextIsMadeOnce has a context with files of two owners, which the kernel can't show as root's:
// steps that see the same files share a copy, and one that comes after a change has a new one.
func TestAsRootCopyOfAContextIsMadeOnce(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/file", "x\n")
		s.write(t, "ctx/other", "x\n")
		if err := os.Chown(s.path("ctx/other"), 12345, 12345); err != nil {
			t.Fatal(err)
		}
		s.write(t, "ctx/Containerfile", `FROM base
RUN --mount=target=/m stat -c 'file %i %u:%g' /m/file /m/other
RUN --mount=target=/m stat -c 'file %i %u:%g' /m/file /m/other
RUN --mount=target=/m,rw stat -c 'owner %u:%g' /m/file /m/other && echo y >/m/file
RUN --mount=target=/m grep -q x /m/file
`)
		r := s.cooper(t, "build", "--progress=plain", "ctx")
		seen := map[string]int{}
		for line := range strings.Lines(r.Stderr) {
			if f := strings.Fields(line); len(f) == 5 && f[2] == "file" && f[4] == "0:0" {
				seen[f[3]]++
			}
		}
		if r.Code != 0 || len(seen) != 2 {
			t.Errorf("status %d, inodes %v\n%s", r.Code, seen, tail(r.Stderr))
		}
		s.checkNoLeftovers(t)
	})
}
