package executor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// held starts a process in a new user namespace in which container IDs from 0 on are the caller's from 1000 on, and gives the
// namespace's path. The process ends with the test.
func held(t *testing.T, setgroups bool) string {
	t.Helper()
	cmd := exec.Command("cat")
	ids := []syscall.SysProcIDMap{{HostID: 1000, Size: 5000}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: setgroups}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid)
}

func TestStepJoinsANamespace(t *testing.T) {
	for _, setgroups := range []bool{true, false} {
		b := newBox(t)
		path := held(t, setgroups)
		ns, err := executor.OpenUserNS(path)
		b.must(err)
		link, err := os.Readlink(path)
		b.must(err)
		s := b.sh("echo $(cat /proc/self/uid_map) $(readlink /proc/self/ns/user) $(id -u) $(cat /proc/self/setgroups)")
		s.Runtime = nil
		s.Mapping, s.UserNS, s.Shifted = &ns.Mapping, ns, true
		want := "0 1000 5000 " + link + " 0 " + map[bool]string{true: "allow", false: "deny"}[setgroups]
		for range 2 {
			if got := strings.TrimSpace(b.output(s)); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		}
		b.must(ns.Close())
	}
	if _, err := os.Readlink("/proc/self/ns/user"); err != nil {
		t.Errorf("this process can't look at itself any more: %v", err)
	}
}

func TestNamespaceIsJoinedAsItIs(t *testing.T) {
	b := newBox(t)
	ns, err := executor.OpenUserNS(held(t, true))
	b.must(err)
	defer func() { b.must(ns.Close()) }()
	s := b.step("/bin/true")
	s.Mapping, s.UserNS, s.Shifted = &ns.Mapping, ns, true
	s.Runtime = &executor.Runtime{Path: "/bin/true", Name: "none"}
	if _, _, err := b.run(s); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("with a runtime: %v", err)
	}
	s.Runtime, s.Emulators = nil, []executor.Emulator{{}}
	if _, _, err := b.run(s); !errors.Is(err, executor.ErrEmulator) {
		t.Errorf("with an emulator: %v", err)
	}
	s.Emulators, s.Mapping = nil, nestedMapping(t)
	if _, _, err := b.run(s); err == nil || !strings.Contains(err.Error(), "not the namespace's") {
		t.Errorf("with another map: %v", err)
	}
}

func TestOwnNamespaceIsNotJoined(t *testing.T) {
	if ns, err := executor.OpenUserNS("/proc/self/ns/user"); ns != nil || err != nil {
		t.Errorf("%v, %v", ns, err)
	}
	for path, want := range map[string]error{
		"/proc/self/ns/mnt": executor.ErrNotUserNS, "/proc/self/ns": executor.ErrNotUserNS, "/dev/null": executor.ErrNotUserNS, "/missing": os.ErrNotExist,
	} {
		if _, err := executor.OpenUserNS(path); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if !inside() {
		return
	}
	if _, err := executor.OpenUserNS("/proc/1/ns/user"); !errors.Is(err, executor.ErrNotAbove) {
		t.Errorf("a namespace above: %v", err)
	}
}
