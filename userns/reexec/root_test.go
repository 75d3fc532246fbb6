package reexec

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// testNested enters a namespace from within one: there the caller is root and
// writes the maps itself.
func (u *ordinary) testNested(t *testing.T) {
	if _, stderr, code := u.run(t, nil, "nested"); code != 42 {
		t.Errorf("exit status %d, want 42; %s", code, stderr)
	}
}

func TestAsRootEntersSubordinateIDsWithoutHelpers(t *testing.T) {
	cmd := exec.Command("/proc/self/exe", "enter", "facts")
	cmd.Env = []string{"PATH=/nowhere", envSubOnly + "=1", envPrivate + "=1"}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var f facts
	if err := json.Unmarshal(out, &f); err != nil {
		t.Fatal(err)
	}
	if fields := strings.Fields(f.UIDMap); strings.Join(fields, " ") != "0 100000 65536" {
		t.Errorf("uid_map is %q", f.UIDMap)
	}
	if f.UID != 0 || f.EUID != 0 || f.GID != 0 || f.EGID != 0 || len(f.Groups) != 0 {
		t.Errorf("IDs are %+v", f)
	}
	if f.ProcOwner != 0 {
		t.Errorf("/proc/self belongs to %d", f.ProcOwner)
	}
	if strings.Contains(f.RootMount, "shared:") || strings.Contains(f.RootMount, "master:") {
		t.Errorf("root mount is not private: %s", f.RootMount)
	}
	checkTasks(t, f.Tasks)
}

// Here the child has changed its user ID, which undoes the parent death signal.
func TestAsRootKillingRootKillsItsChildOfAnotherID(t *testing.T) {
	root := &ordinary{name: "root", binary: "/proc/self/exe"}
	s := root.start(t, []string{envSubOnly + "=1"})
	pidfd := openPID(t, s.child)
	s.send(t, unix.SIGKILL)
	awaitExit(t, pidfd)
}

func TestAsRootWriteMapsGivesAProcessItsMaps(t *testing.T) {
	cmd := exec.Command("/bin/cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { in.Close(); _ = cmd.Wait() }()
	uids, err := userns.NewMap(userns.Range{Container: 0, Host: 100000, Length: 10},
		userns.Range{Container: 20, Host: 5, Length: 1})
	if err != nil {
		t.Fatal(err)
	}
	gids, err := userns.NewMap(userns.Range{Container: 0, Host: 200000, Length: 3})
	if err != nil {
		t.Fatal(err)
	}
	m := userns.Mapping{UIDs: uids, GIDs: gids}
	if err := WriteMaps(cmd.Process.Pid, m); err != nil {
		t.Fatal(err)
	}
	for _, h := range helpers(m) {
		got, err := userns.ParseMap(file("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/" + h.file))
		if err != nil || got.String() != h.ids.String() {
			t.Errorf("%s is %q (%v), want %q", h.file, got, err, h.ids)
		}
	}
	if err := WriteMaps(cmd.Process.Pid, m); !errors.Is(err, unix.EPERM) {
		t.Errorf("second time gives %v, want EPERM", err)
	}
}

func TestWriteMapsRefusesWhatTheKernelCannotTake(t *testing.T) {
	var ranges []userns.Range
	for i := range uint32(300) {
		ranges = append(ranges, userns.Range{Container: 1000000 + 2*i, Host: 3000000 + 2*i, Length: 1})
	}
	m, err := userns.NewMap(ranges...)
	if err != nil {
		t.Fatal(err)
	}
	if err := WriteMaps(os.Getpid(), userns.Mapping{UIDs: m, GIDs: m}); !errors.Is(err, userns.ErrBadMap) {
		t.Errorf("error is %v", err)
	}
}
