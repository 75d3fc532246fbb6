package tests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manyFiles is how many files a layer has whose owners are shifted: enough for a signal to arrive meanwhile.
const manyFiles = 20000

// shiftTexts are Dockerfiles that make manyFiles files: a base whose files are copied with other owners, and a step
// whose own files get the image's owners back. The number of this process tells their commands from those of other
// tests.
func shiftTexts() (many, more string) {
	const touch = "RUN : %d; mkdir %s && cd %[2]s && seq %d | xargs touch\n"
	pid := os.Getpid()
	return busyboxfile + fmt.Sprintf(touch, pid, "/files", manyFiles), "FROM many\n" + fmt.Sprintf(touch, pid, "/more",
		manyFiles)
}

// shiftPhase is a part of a build with a second ID map, and how to see that it is in the middle of it.
type shiftPhase struct {
	name    string
	text    string
	halfway func(s *site) bool
}

func shiftPhases() []shiftPhase {
	_, more := shiftTexts()
	return []shiftPhase{
		{"copy", "FROM many\nRUN ls /files | wc -l >/count\n", func(s *site) bool {
			n := entriesOf(s.store() + "/cooper/tmp/*/copy/files")
			return n > 0 && n < manyFiles
		}},
		{"back", more, func(s *site) bool {
			// A sample is enough: with two owners, some of the files have theirs back and some don't.
			owners := map[uint32]bool{}
			files, _ := filepath.Glob(s.store() + "/cooper/tmp/*/dir/more/*00") // the pattern is right
			for _, f := range files {
				var st unix.Stat_t
				if unix.Lstat(f, &st) == nil {
					owners[st.Uid] = true
				}
			}
			return len(owners) == 2
		}},
	}
}

// entriesOf counts the names in a directory given by a pattern.
func entriesOf(pattern string) int {
	dirs, _ := filepath.Glob(pattern) // the pattern is right
	n := 0
	for _, dir := range dirs {
		names, _ := os.ReadDir(dir) // it may be gone again
		n += len(names)
	}
	return n
}

// shiftSite has the base of the phases, and the contexts.
func shiftSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t, ordinary(t))
	s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	many, _ := shiftTexts()
	s.write(t, "busybox/Many", many)
	s.build(t, "-q", "-t", "many", "-f", "busybox/Many", "busybox")
	for _, p := range shiftPhases() {
		s.write(t, p.name+"/Containerfile", p.text)
	}
	return s
}

// TestKilledWhileOwnersAreShifted ends builds by SIGKILL when half of a layer's files are copied with other owners, or
// have been given back the image's. The next build makes the image that one without a kill makes, and leaves whole
// copies only.
func TestKilledWhileOwnersAreShifted(t *testing.T) {
	t.Parallel()
	want := map[string]string{}
	for i, flag := range []string{"--userns=keep-id", "--uidmap=0:1:65536"} {
		t.Run(flag, func(t *testing.T) {
			s := shiftSite(t)
			for _, p := range shiftPhases() {
				s.killHalfway(t, p, i == 1, flag)
				got := s.build(t, "-q", "-t", p.name, flag, p.name)
				s.checkNoLeftovers(t, fmt.Sprintf(": %d; mkdir", os.Getpid()))
				s.checkShiftedCopies(t)
				if i == 0 {
					want[p.name] = s.build(t, "-q", "--no-cache", "--userns=host", p.name)
				}
				if got != want[p.name] {
					t.Errorf("after a kill in phase %s the image is %s, not %s", p.name, got, want[p.name])
				}
			}
			s.checkStore(t, "copy")
			s.checkStore(t, "back")
		})
	}
}

// killHalfway starts a build and kills it in the phase: the process that the user has started, or its child in the user
// namespace.
func (s *site) killHalfway(t *testing.T, p shiftPhase, child bool, flag string) {
	t.Helper()
	mark := s.path("killed-" + p.name)
	cmd := s.command(suite.cooper, "build", "--iidfile", mark, flag, p.name)
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed
		close(ended)
	}()
	for !p.halfway(s) {
		select {
		case <-ended:
			t.Fatalf("the build has ended before phase %s was seen\n%s", p.name, tail(errs.String()))
		case <-time.After(time.Millisecond):
		}
	}
	victim := cmd.Process.Pid
	if child {
		victim = childOf(victim)
	}
	if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	<-ended
	s.waitForEnd(t, mark)
	if !p.halfway(s) {
		t.Errorf("the kill came after phase %s", p.name)
	}
}

// checkShiftedCopies fails unless each copy that the store keeps of a layer has as many files as the layer.
func (s *site) checkShiftedCopies(t *testing.T) {
	t.Helper()
	copies, err := filepath.Glob(s.store() + "/cooper/shifted/*/*")
	if err != nil {
		t.Fatal(err)
	}
	copies = slices.DeleteFunc(copies, func(path string) bool { return filepath.Ext(path) != "" })
	if len(copies) == 0 {
		t.Error("no copies")
	}
	for _, dir := range copies {
		diff := filepath.Join(s.store(), "overlay", filepath.Base(dir), "diff")
		for _, part := range []string{"", "/files", "/bin"} {
			if got, want := entriesOf(dir+part), entriesOf(diff+part); got != want {
				t.Errorf("%s%s has %d files, the layer %d", dir, part, got, want)
			}
		}
	}
}
