package tests_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// userNSLink is a user namespace as the kernel tells it.
type userNSLink struct {
	ino, parent uint64 // parent is 0 if this process may not know
	owner       uint32
}

// userNSOfProcess looks at a process's user namespace.
func userNSOfProcess(t *testing.T, pid int) (ns userNSLink) {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	ino := func(fd int) uint64 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	ns.ino = ino(int(f.Fd()))
	if ns.owner, err = unix.IoctlGetUint32(int(f.Fd()), unix.NS_GET_OWNER_UID); err != nil {
		t.Fatal(err)
	}
	if parent, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT); err == nil {
		ns.parent = ino(parent)
		_ = unix.Close(parent)
	}
	return ns
}

// lsns gives the parent of each user namespace in which lsns sees a process, as the site's user.
func (s *site) lsns(t *testing.T) map[string]string {
	t.Helper()
	parents := map[string]string{}
	// It fails if a process ends while it looks at all there are.
	eventually(t, func() string { return "lsns fails" }, func() bool {
		r := runCommand(t, s.command("lsns", "--type=user", "--noheadings", "--raw", "--output=NS,PNS"))
		for line := range strings.Lines(r.Stdout) {
			if f := strings.Fields(line); len(f) == 2 {
				parents[f[0]] = f[1]
			}
		}
		return r.Code == 0
	})
	return parents
}

// TestTheHostSeesBothNamespacesOfAStep looks at a running step with a second map from outside, as lsns and ps show it.
func TestTheHostSeesBothNamespacesOfAStep(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "wait/Containerfile", "FROM base\nUSER 33:34"+waitStep)
		tag, from := fmt.Sprintf("view-%d", os.Getpid()), 100
		if m.root() {
			from = 600000
		}
		second := fmt.Sprintf("--uidmap=0:%d:1000", from)
		build := startWaiting(t, s, "view", second, "-t", tag)
		defer build.finish(t, s, "view")
		if build.from != from || build.length != 1000 {
			t.Errorf("in the step the map is 0 %d %d", build.from, build.length)
		}
		step := s.firstProcess(t, tag)

		inner := userNSOfProcess(t, step)
		here := userNSOfProcess(t, os.Getpid())
		outer := here
		if !m.root() { // cooper's own
			outer = userNSOfProcess(t, parentOf(t, step))
			if outer.parent != here.ino || outer.owner != uint32(m.UID) {
				t.Errorf("cooper's namespace is %+v, of user %d in %d", outer, m.UID, here.ino)
			}
		}
		if inner.ino == outer.ino || inner.parent != outer.ino || inner.owner != uint32(m.UID) {
			t.Errorf("the step's namespace is %+v, cooper's %+v", inner, outer)
		}
		seen := s.lsns(t)
		for _, ns := range []userNSLink{inner, outer} {
			if got := seen[strconv.FormatUint(ns.ino, 10)]; got != strconv.FormatUint(ns.parent, 10) {
				t.Errorf("lsns shows %s as the parent of %+v: %v", got, ns, seen)
			}
		}

		for i, flags := range [][]string{{"33"}, {"34", "--group"}} {
			want := strings.TrimSpace(s.run(t, suite.cooper, append([]string{"userns", "translate", second, "--to=host"},
				flags...)...))
			got := strings.Fields(s.run(t, "ps", "-o", "uid=,gid=", "-p", strconv.Itoa(step)))
			if len(got) != 2 || got[i] != want || got[i] == flags[0] {
				t.Errorf("ps shows the IDs %v for %v, not %s", got, flags, want)
			}
		}
	})
}

// firstProcess is the host's number of the first process of the step that a build with the tag runs.
func (s *site) firstProcess(t *testing.T, tag string) int {
	t.Helper()
	// The step is noted when its process has begun, so it may have said that it waits before.
	eventually(t, func() string { return "no step of " + tag + " is noted" }, func() bool {
		return s.cooper(t, "top", tag, "hpid", "pid").Code == 0
	})
	for _, row := range s.top(t, tag, "hpid", "pid") {
		if row[1] == "1" {
			pid, err := strconv.Atoi(row[0])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatalf("no step of %s runs", tag)
	return 0
}

// parentOf is the process that has started another one.
func parentOf(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// the name before it may have spaces
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}
