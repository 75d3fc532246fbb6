package executor_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/emulator"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/userns"
)

// heldIDs are the IDs of the namespaces that held makes, in an order that no map of this module has.
func heldIDs() []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{ContainerID: 3000, HostID: 4000, Size: 2000},
		{ContainerID: 0, HostID: 1000, Size: 3000}}
}

// held starts a process in a new user namespace with heldIDs, and gives the namespace's path. release ends the process,
// which the end of the test does in any case.
func held(t *testing.T, setgroups bool) (path string, release func()) {
	t.Helper()
	cmd := exec.Command("cat")
	ids := heldIDs()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids,
		GidMappingsEnableSetgroups: setgroups}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(release)
	return fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid), release
}

// joining is a step in a namespace that held has made.
func (b *box) joining(ns *joined.UserNS, script string) executor.Step {
	s := b.sh(script)
	s.Mapping, s.UserNS = &ns.Mapping, ns
	s.Shifted = inside() // only real root may map the owners of a disk
	if s.Shifted {
		b.must(filepath.WalkDir(b.path("layer"),
			func(p string, _ os.DirEntry, err error) error { return errors.Join(err, os.Lchown(p, 1000, 1000)) }))
		b.must(os.Chown(b.path("upper"), 1000, 1000))
	}
	return s
}

func TestStepJoinsANamespace(t *testing.T) {
	for _, setgroups := range []bool{true, false} {
		b := newBox(t)
		path, release := held(t, setgroups)
		ns, err := joined.Open(path)
		b.must(err)
		link, err := os.Readlink(path)
		b.must(err)
		s := b.joining(ns, `echo $(cat /proc/self/uid_map) $(readlink /proc/self/ns/user) $(id -u) $(cat /proc/self/setgroups) $(stat -c %u:%g /bin/sh /etc/hosts /dev) \
			$(touch /f; chown 33:34 /f; stat -c %u:%g /f)`)
		want := "3000 4000 2000 0 1000 3000 " + link + " 0 " + map[bool]string{true: "allow", false: "deny"}[setgroups] +
			" 0:0 0:0 0:0 33:34"
		for range 2 { // the second time nothing but ns is left of it
			if got := strings.TrimSpace(b.output(s)); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
			release()
		}
		if inside() {
			checkOwner(t, b.path("upper/f"), 1033, 1034)
		} else {
			checkOwner(t, b.path("upper/f"), 33, 34)
		}
		b.must(ns.Close())
	}
	if _, err := os.Readlink("/proc/self/ns/user"); err != nil {
		t.Errorf("this process can't look at itself any more: %v", err)
	}
}

func TestUsersOfAJoinedNamespace(t *testing.T) {
	for setgroups, want := range map[bool]string{true: "1000 50 999 1001", false: "1000"} {
		b := newBox(t)
		path, _ := held(t, setgroups)
		ns, err := joined.Open(path)
		b.must(err)
		s := b.joining(ns, "echo $(id -u) $(grep ^Groups: /proc/self/status | cut -d: -f2) $(grep CapEff /proc/self/status)")
		s.User = "alice"
		got := strings.TrimSpace(b.output(s))
		if !strings.HasPrefix(got, want+" ") || !strings.HasSuffix(got, " 0000000000000000") {
			t.Errorf("setgroups %v: %s, want %s", setgroups, got, want)
		}
		s.User = "5000" // the highest is 4999
		var unmapped *userns.UnmappedError
		if _, _, err := b.run(s); !errors.As(err, &unmapped) {
			t.Errorf("a user that it has not: %v", err)
		}
		b.must(ns.Close())
	}
}

func TestNamespaceIsJoinedAsItIs(t *testing.T) {
	b := newBox(t)
	path, _ := held(t, true)
	ns, err := joined.Open(path)
	b.must(err)
	defer func() { b.must(ns.Close()) }()
	s := b.step("/bin/true")
	s.Mapping, s.UserNS, s.Shifted = &ns.Mapping, ns, true
	s.Emulators = []emulator.Emulator{{}}
	if _, _, err := b.run(s); !errors.Is(err, emulator.ErrRegister) {
		t.Errorf("with an emulator: %v", err)
	}
	s.Emulators, s.Mapping = nil, nestedMapping(t)
	if _, _, err := b.run(s); err == nil || !strings.Contains(err.Error(), "not the namespace's") {
		t.Errorf("with another map: %v", err)
	}
}

func TestMapOfANamespaceIsRead(t *testing.T) {
	path, release := held(t, true)
	kept, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	descriptor := fmt.Sprintf("/proc/self/fd/%d", kept.Fd())
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	read := func(paths ...string) {
		t.Helper()
		for _, path := range paths {
			m, err := joined.Read(path)
			if want := "0 1000 3000\n3000 4000 2000"; err != nil || m == nil || m.UIDs.String() != want ||
				m.GIDs.String() != want {
				t.Errorf("%s: %v, %v", path, m, err)
			}
		}
	}
	read(path, link, descriptor)
	release()
	read(descriptor) // no process is in it any more
	if _, err := joined.Read(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the namespace of a process that has ended: %v", err)
	}
	if m, err := joined.Read("/proc/self/ns/user"); m != nil || err != nil {
		t.Errorf("the own one: %v, %v", m, err)
	}
	if _, err := joined.Read("/proc/self/ns/mnt"); !errors.Is(err, joined.ErrNotUserNS) {
		t.Errorf("a mount namespace: %v", err)
	}
	if !inside() {
		return
	}
	if _, err := joined.Read("/proc/1/ns/user"); err == nil || !strings.Contains(err.Error(), "not below") {
		t.Errorf("a namespace above: %v", err)
	}
}

func TestOwnNamespaceIsNotJoined(t *testing.T) {
	if ns, err := joined.Open("/proc/self/ns/user"); ns != nil || err != nil {
		t.Errorf("%v, %v", ns, err)
	}
	for path, want := range map[string]error{
		"/proc/self/ns/mnt": joined.ErrNotUserNS, "/proc/self/ns": joined.ErrNotUserNS,
		"/dev/null": joined.ErrNotUserNS, "/missing": os.ErrNotExist,
	} {
		if _, err := joined.Open(path); !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if !inside() {
		return
	}
	if _, err := joined.Open("/proc/1/ns/user"); !errors.Is(err, joined.ErrNotAbove) {
		t.Errorf("a namespace above: %v", err)
	}
}
