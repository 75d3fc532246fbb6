package top

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// inNamespace starts a command in a pid namespace of its own, as a step is, and ends it with the test.
func inNamespace(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	uid, gid := userns.OwnIDs()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{HostID: int(uid), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: int(gid), Size: 1}},
		Pdeathsig:   unix.SIGKILL,
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
	if _, err := out.Read(make([]byte, 1)); err != nil { // it says when all of it is there
		t.Fatal(err)
	}
	return cmd
}

func TestTheProcessesOfAStepAreFoundWithTheirNumbersInside(t *testing.T) {
	cmd := inNamespace(t, "/bin/sh", "-c", "sleep 1000 & echo; wait # \x1b[2J")
	step := Step{Build: "abc", Number: "1/2", PID: cmd.Process.Pid, Started: time.Now()}
	gone := Step{Build: "def", PID: 1 << 30}
	var found Found
	for end := time.Now().Add(10 * time.Minute); ; { // the second process is a shell at first
		var err error
		if found, err = Processes([]Step{gone, step}); err != nil {
			t.Fatal(err)
		}
		if len(found.Processes) == 2 && found.Processes[1].Comm == "sleep" || time.Now().After(end) {
			break
		}
	}
	if len(found.Processes) != 2 || found.Hidden != 0 {
		t.Fatalf("it finds %+v", found.Processes)
	}
	sh, sleep := found.Processes[0], found.Processes[1]
	if sh.PID != 1 || sh.Host != cmd.Process.Pid || sh.PPID != 0 || sh.Step.Build != "abc" || sh.Comm != "sh" ||
		sh.Args[2] != cmd.Args[2] {
		t.Errorf("the first one is %+v", sh)
	}
	if sleep.PPID != 1 || sleep.PID <= 1 || !slices.Equal(sleep.Args, []string{"sleep", "1000"}) ||
		sleep.Started.Before(sh.Started) ||
		time.Since(sleep.Started) > time.Hour || sleep.RSS == 0 {
		t.Errorf("the second one is %+v", sleep)
	}
	uid, _ := userns.OwnIDs()
	if sh.UIDs[0] != uid || strings.Join(strings.Fields(sh.UIDMap), " ") != "0 "+strconv.Itoa(int(uid))+" 1" {
		t.Errorf("IDs %v, map %q", sh.UIDs, sh.UIDMap)
	}
	table, err := NewTable([]string{"pid,ppid,user,step,args"})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := table.Write(&text, found); err != nil || strings.Contains(text.String(), "\x1b") ||
		!strings.Contains(text.String(), "\n1    0     ") || strings.Count(text.String(), "\n") != 3 {
		t.Errorf("the table is\n%s%v", text.String(), err)
	}
}

func TestAStepWhoseNumberAnotherProcessHasIsNone(t *testing.T) {
	// This process is in no namespace of its own, as one that has a step's number by chance.
	found, err := Processes([]Step{{Build: "abc", PID: os.Getpid()}})
	if err != nil || len(found.Processes) != 0 || found.Hidden != 0 {
		t.Errorf("it finds %+v, %v", found, err)
	}
	if found, err := Processes(nil); err != nil || len(found.Processes) != 0 {
		t.Errorf("of nothing it finds %+v, %v", found, err)
	}
}

func TestOfARuntimeOnlyWhatIsBelowIsTheSteps(t *testing.T) {
	cmd := inNamespace(t, "/bin/sh", "-c", "unshare --pid --fork --kill-child sh -c 'echo; sleep 1000'")
	found, err := Processes([]Step{{Build: "abc", PID: cmd.Process.Pid, Below: true}})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found.Processes {
		if p.Host == cmd.Process.Pid || p.Comm == "unshare" {
			t.Errorf("the runtime counts as a process of the step: %+v", p)
		}
	}
	if len(found.Processes) == 0 || found.Processes[0].PID != 1 {
		t.Errorf("it finds %+v", found.Processes)
	}
}

func TestProcessesAreSortedByStepAndNumber(t *testing.T) {
	early, late := &Step{PID: 9, Started: time.Unix(1, 0)}, &Step{PID: 5, Started: time.Unix(2, 0)}
	f := Found{Processes: []Process{
		{Step: late, Host: 50, PID: 1}, {Step: early, Host: 92, PID: 7, parent: 91},
		{Step: early, Host: 91, PID: 1, parent: 4},
	}}
	f.order()
	var got []string
	for _, p := range f.Processes {
		got = append(got, strconv.Itoa(p.Host)+"<"+strconv.Itoa(p.PPID))
	}
	if strings.Join(got, " ") != "91<0 92<1 50<0" {
		t.Errorf("got %q", got)
	}
}

func TestEveryDescriptorHasAValueForEveryProcess(t *testing.T) {
	step := &Step{}
	f := Found{Processes: []Process{{Step: step}, {Step: step, TTY: 1025, Seccomp: "1"},
		{Step: step, TTY: 0x103, Seccomp: "2"}}}
	var last string
	for _, c := range allColumns() {
		if c.name <= last {
			t.Errorf("%s comes after %s", c.name, last)
		}
		last = c.name
		table, err := NewTable([]string{c.name})
		if err != nil {
			t.Fatal(err)
		}
		if c.code != "" {
			if byCode, err := NewTable([]string{c.code}); err != nil || byCode.columns[0].name != c.name {
				t.Errorf("%s is not %s: %v", c.code, c.name, err)
			}
		}
		var text bytes.Buffer
		if err := table.Write(&text, f); err != nil || !strings.HasPrefix(text.String(), c.header+"\n") ||
			strings.Count(text.String(), "\n") != 4 {
			t.Errorf("%s: %q, %v", c.name, text.String(), err)
		}
	}
	for tty, want := range map[int]string{0: "?", 4<<8 | 1: "tty1", 136<<8 | 3: "pts/3", 1<<8 | 3: "1:3",
		137<<8 | 1: "pts/1048577"} {
		if got := (shown{Process: Process{TTY: tty}}).tty(); got != want {
			t.Errorf("terminal %#x is %s, not %s", tty, got, want)
		}
	}
	for mode, want := range map[string]string{"0": "disabled", "1": "strict", "2": "filter", "": "?", "9": "?"} {
		if got := (shown{Process: Process{Seccomp: mode}}).seccomp(); got != want {
			t.Errorf("seccomp %s is %s", mode, got)
		}
	}
}

func TestNamesOfTheHostAreAskedForOnce(t *testing.T) {
	asked := 0
	names := map[uint32]string{}
	for range 3 {
		if got := remembered(names, 7, func(number string) string { asked++; return "u" + number }); got != "u7" {
			t.Errorf("got %s", got)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	host := newHostNames()
	if host.user(0) != "root" || host.user(3999999999) != "3999999999" || host.group(3999999999) != "3999999999" {
		t.Errorf("%s, %s, %s", host.user(0), host.user(3999999999), host.group(3999999999))
	}
}

func TestCapabilitiesThatAreNewAreNumbered(t *testing.T) {
	v := shown{Process: Process{Caps: map[string]uint64{"CapEff": 1<<63 | 1<<21, "CapBnd": ^uint64(0)}}}
	if got := v.caps("CapEff"); got != "SYS_ADMIN,CAP_63" {
		t.Errorf("got %s", got)
	}
	if got := v.caps("CapBnd"); got != "full" {
		t.Errorf("got %s", got)
	}
}

func TestANoteThatCanNotBeMadeLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	notes, err := OpenRegister(dir)
	if err != nil {
		t.Fatal(err)
	}
	// A directory of the note's name: the note can't take it.
	if err := os.MkdirAll(filepath.Join(dir, "b-7.step", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := notes.Add(Step{Build: "b", PID: 7}); err == nil ||
		!strings.HasPrefix(err.Error(), "note running step: ") {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) != 0 || err != nil {
		t.Errorf("it leaves %q, %v", left, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := notes.Add(Step{Build: "b", PID: 7}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRegister(filepath.Join(file, "x")); err == nil {
		t.Error("below a file there are notes")
	}
	if _, err := List(file); err == nil || !strings.Contains(err.Error(), file+" is not a directory of this user's") {
		t.Errorf("a file: %v", err)
	}
}

func TestANoteOfAKilledBuildGoesAndAHugeOneIsNone(t *testing.T) {
	dir := t.TempDir()
	notes, err := OpenRegister(dir)
	if err != nil {
		t.Fatal(err)
	}
	remove, err := notes.Add(Step{Build: "big", PID: 7, Instruction: strings.Repeat("x", maxNote)})
	if err != nil {
		t.Fatal(err)
	}
	if steps, err := List(dir); len(steps) != 0 || err != nil {
		t.Errorf("it reads %d steps, %v", len(steps), err)
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "dead-8.step"), []byte(`{"pid":8}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if steps, err := List(dir); len(steps) != 0 || err != nil {
		t.Errorf("it reads %v, %v", steps, err)
	}
	if left, err := os.ReadDir(dir); len(left) != 0 || err != nil {
		t.Errorf("it leaves %v, %v", left, err)
	}
	for n, id := range []string{NewBuildID(), NewBuildID()} {
		if len(id) != 12 || strings.Trim(id, "0123456789abcdef") != "" {
			t.Errorf("ID %d is %q", n, id)
		}
	}
}
