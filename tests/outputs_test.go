package tests_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOutputsFollowNobodyElsesLinks plants links in a directory like /tmp, as another user would who wants a file of
// the builder's written.
func TestOutputsFollowNobodyElsesLinks(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile", "FROM base\nRUN : >/made\n")
		s.write(t, "victim/file", "precious")
		s.write(t, "tmp/theirs-file", "theirs")
		link := func(name, to string) {
			if err := os.Symlink(to, s.path("tmp/"+name)); err != nil {
				t.Fatal(err)
			}
			if err := s.own(s.path("tmp/" + name)); err != nil {
				t.Fatal(err)
			}
		}
		link("theirs-link", s.path("victim/file"))
		link("theirs-dangling", s.path("victim/new"))
		link("theirs-dir", s.path("victim"))
		link("mine", s.path("iid"))
		if err := syscall.Chmod(s.path("tmp"), 0o1777); err != nil {
			t.Fatal(err)
		}
		s.giveAway(t, "tmp/theirs-link", "tmp/theirs-dangling", "tmp/theirs-dir", "tmp/theirs-file")
		for _, name := range []string{"theirs-link", "theirs-dangling", "theirs-dir/new", "theirs-file"} {
			at := s.path("tmp/" + name)
			for _, flags := range [][]string{
				{"--iidfile", at}, {"--metadata-file", at}, {"-o", "type=oci,dest=" + at}, {"-o", "type=tar,dest=" + at},
			} {
				s.cooper(t, append(append([]string{"build"}, flags...), "ctx")...).fails(t, 1, at,
					"another user has put it into a directory that everyone may write to")
			}
		}
		at := s.path("tmp/theirs-dir")
		for _, flags := range [][]string{{"-o", at}, {"-o", at + "/new"}, {"-o", "type=oci,tar=false,dest=" + at + "/new"},
			{"--no-cache", "--keep-bundle", at + "/new"}} {
			s.cooper(t, append(append([]string{"build"}, flags...), "ctx")...).fails(t, 1, at, "another user has put it")
		}
		if got := s.read(t, "victim/file"); got != "precious" {
			t.Errorf("the victim's file holds %q", got)
		}
		if left, err := filepath.Glob(s.path("victim/*")); err != nil || len(left) != 1 {
			t.Errorf("the victim has %q, %v", left, err)
		}
		id := s.build(t, "--iidfile", s.path("tmp/mine"), "ctx")
		if got := s.read(t, "iid"); got != id {
			t.Errorf("the file that an own link leads to holds %q", got)
		}
	})
}

// giveAway gives files to another user, by the namespace where the mode's user isn't root.
func (s *site) giveAway(t *testing.T, names ...string) {
	t.Helper()
	command := []string{"chown", "-h", "33:33"}
	for _, n := range names {
		command = append(command, s.path(n))
	}
	if s.mode.root() {
		s.run(t, command[0], command[1:]...)
		return
	}
	s.cooper(t, append([]string{"unshare"}, command...)...).succeeds(t)
}

// TestKilledOutputLeavesNothing kills builds that write files and directories: only directories have a name before they
// are whole, and the next build to that place removes what is left.
func TestKilledOutputLeavesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile",
			"FROM base\nRUN mkdir /many && for i in $(seq 3000); do echo $i >/many/$i; done; dd if=/dev/urandom of=/big bs=1M count=40\n")
		s.build(t, "ctx")
		s.mkdir(t, "out/there")
		for _, output := range []string{"type=oci,dest=OUT/oci.tar", "type=local,dest=OUT/new", "type=local,dest=OUT/there",
			"type=oci,tar=false,dest=OUT/layout"} {
			output = strings.ReplaceAll(output, "OUT", s.path("out"))
			for _, wait := range []time.Duration{0, 20 * time.Millisecond, 50 * time.Millisecond} {
				s.killWriting(t, wait, "build", "--progress=plain", "-o", output, "ctx")
			}
			s.build(t, "-o", output, "ctx")
			for _, pattern := range []string{"out/.cooper-*", "out/*/.cooper-*"} {
				if left, err := filepath.Glob(s.path(pattern)); err != nil || len(left) > 0 {
					t.Errorf("%s: %q are left, %v", output, left, err)
				}
			}
		}
	})
}

// killWriting kills a build so long after it has begun to write its output.
func (s *site) killWriting(t *testing.T, wait time.Duration, args ...string) {
	t.Helper()
	cmd := s.command(suite.cooper, args...)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	for lines.Scan() && !strings.Contains(lines.Text(), "writing ") {
	}
	time.Sleep(wait)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	s.waitForEnd(t, s.path("out"))
}
