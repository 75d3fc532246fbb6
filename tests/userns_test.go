package tests_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// shownUserns is one map of cooper userns show --format=json.
type shownUserns struct {
	UIDs, GIDs []struct{ Container, Intermediate, Host, Length uint32 }
}

// TestUsernsMapsAreThoseOfPodman compares what cooper shows with what a process sees that podman has started with the same flags:
// the kernel has taken these maps, entry for entry.
func TestUsernsMapsAreThoseOfPodman(t *testing.T) {
	s := newSite(t, ordinary(t))
	s.mkdir(t, "rootfs")
	// IDs that are nobody's inside have to get there, and make directories to mount on.
	if err := errors.Join(os.Chmod(s.dir, 0o755), os.Chmod(s.path("rootfs"), 0o777), copyBusybox(s.path("rootfs/busybox"))); err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{"--userns=keep-id", "--userns=nomap"} {
		// podman leaves a process behind that would keep a pipe open, so its output goes to a file.
		s.run(t, "sh", "-c", "podman run --rm --network=host "+flag+" --rootfs "+s.path("rootfs")+
			" /busybox sh -c '/busybox cat /proc/self/uid_map; echo; /busybox cat /proc/self/gid_map' >seen 2>err || { cat err; exit 1; }")
		shown := s.run(t, suite.cooper, "userns", "show", "--format=json", flag)
		var maps []shownUserns
		if err := json.Unmarshal([]byte(shown), &maps); err != nil || len(maps) != 1 {
			t.Fatalf("cooper userns show %s: %v in %s", flag, err, shown)
		}
		if got, want := maps[0].second(), normalMap(s.read(t, "seen")); got != want {
			t.Errorf("%s: cooper shows\n%s\nin podman's container it is\n%s", flag, got, want)
		}
	}
}

// copyBusybox makes a program that everybody may run, all that a root file system needs here.
func copyBusybox(path string) error {
	program, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o755)
}

// second gives the second map in the form of the kernel's files: container ID, intermediate ID, length, group map after an empty line.
func (m shownUserns) second() string {
	var b strings.Builder
	for _, l := range m.UIDs {
		fmt.Fprintln(&b, l.Container, l.Intermediate, l.Length)
	}
	fmt.Fprintln(&b)
	for _, l := range m.GIDs {
		fmt.Fprintln(&b, l.Container, l.Intermediate, l.Length)
	}
	return joinLevels(b.String())
}

// normalMap takes the padding out of the kernel's columns.
func normalMap(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintln(&b, strings.Join(strings.Fields(line), " "))
	}
	return joinLevels(b.String())
}

// joinLevels joins lines that follow each other on both sides: a table has a line of its own for each range on the host.
func joinLevels(text string) string {
	var out []string
	var c, from, n uint32
	for line := range strings.Lines(text) {
		var c2, from2, n2 uint32
		if _, err := fmt.Sscan(line, &c2, &from2, &n2); err != nil {
			out, n = append(out, ""), 0
			continue
		}
		if n > 0 && c2 == c+n && from2 == from+n {
			n += n2
			out[len(out)-1] = fmt.Sprint(c, " ", from, " ", n)
			continue
		}
		c, from, n = c2, from2, n2
		out = append(out, fmt.Sprint(c, " ", from, " ", n))
	}
	return strings.Join(out, "\n")
}
