package top

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/flock"
)

func TestNotesAreListedWhileTheyAreHeld(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cooper")
	if steps, err := List(dir); err != nil || steps != nil {
		t.Errorf("no directory: %v %v", steps, err)
	}
	notes, err := OpenRegister(dir)
	if err != nil {
		t.Fatal(err)
	}
	old := Step{Build: NewBuildID(), Tags: []string{"app", "localhost/app:latest"}, Number: "1/2", PID: 7,
		Started: time.Unix(1, 0)}
	remove, err := notes.Add(Step{Build: old.Build, PID: 8, Started: time.Unix(2, 0)})
	if err != nil {
		t.Fatal(err)
	}
	removeOld, err := notes.Add(old)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := List(dir)
	if err != nil || len(steps) != 2 || steps[0].PID != 7 || steps[1].PID != 8 {
		t.Fatalf("steps %+v, %v", steps, err)
	}
	for name, want := range map[string]bool{
		old.Build: true, old.Build[:3]: true, old.Build[:2]: false, "app": true, "localhost/app:latest": true, "ap": false,
		"": false, old.Build + "0": false,
	} {
		if steps[0].Match(name) != want {
			t.Errorf("match of %q is not %v", name, want)
		}
	}
	if err := remove(); err != nil {
		t.Error(err)
	}
	if err := removeOld(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

func TestStaleAndForeignFilesAreNoSteps(t *testing.T) {
	dir := t.TempDir()
	long := time.Now().Add(-time.Hour)
	for name, text := range map[string]string{"a-1.step": `{"pid": 1}`, ".new-old": "", ".new-young": "", "other": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(dir, ".new-old"), long, long); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe.step"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link.step")); err != nil {
		t.Fatal(err)
	}
	held, err := os.Create(filepath.Join(dir, "held.step"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if got, err := flock.Try(held, flock.Exclusive); err != nil || !got {
		t.Fatal(got, err)
	}
	if _, err := held.WriteString("{nonsense"); err != nil {
		t.Fatal(err)
	}
	if steps, err := List(dir); err != nil || len(steps) != 0 {
		t.Errorf("steps %+v, %v", steps, err)
	}
	var left []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if got := strings.Join(left, " "); got != ".new-young held.step link.step other" {
		t.Errorf("left: %s", got)
	}
	if err := os.Symlink(dir, dir+"-link"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenRegister(dir + "-link"); err == nil {
		t.Error("a link is taken for the directory")
	}
}

const sampleStat = "4242 (a) b (c) S 4000 4242 4242 34817 4242 4194560 1 2 3 4 150 50 7 8 20 5 1 0 1000 8192000 300 18446744073709551615 1 1 0 0 0 0\n"

func TestStatAndStatusAreParsed(t *testing.T) {
	var p Process
	boot := time.Unix(1700000000, 0)
	if err := p.parseStat(sampleStat, boot); err != nil {
		t.Fatal(err)
	}
	if p.Comm != "a) b (c" || p.State != "S" || p.parent != 4000 || p.TTY != 34817 || p.Nice != 5 ||
		p.CPU != 2*time.Second ||
		p.VSZ != 8192000 || !p.Started.Equal(boot.Add(10*time.Second)) {
		t.Errorf("%+v", p)
	}
	for _, text := range []string{"", "1 (x", "1 (x) S 1", ")(", "nonsense"} {
		if new(Process).parseStat(text, boot) == nil {
			t.Errorf("%q is taken", text)
		}
	}
	p.parseStatus("Name:\tx\nUid:\t100000\t100032\t1\t1\nGid:\t5\t6\t7\t8\nGroups:\t4 5 \nNSpid:\t4242\t17\nNSpgid:\t4242\t1\nVmRSS:\t  12 kB\n" +
		"CapEff:\t0000000000000021\nCapBnd:\t000001ffffffffff\nSeccomp:\t2\nbroken\nUid\n:\n")
	if p.UIDs != [2]uint32{100000, 100032} || p.GIDs != [2]uint32{5, 6} || len(p.Groups) != 2 || p.PID != 17 ||
		p.PGID != 1 || p.RSS != 12<<10 || p.Seccomp != "2" {
		t.Errorf("%+v", p)
	}
	v := shown{Process: p}
	for set, want := range map[string]string{"CapEff": "CHOWN,KILL", "CapBnd": "full", "CapInh": "none"} {
		if got := v.caps(set); got != want {
			t.Errorf("%s is %s", set, got)
		}
	}
	if got := v.tty(); got != "pts/1" {
		t.Errorf("tty %s", got)
	}
}

func TestTableShowsBothViewsAndNothingHostile(t *testing.T) {
	step := &Step{Build: "abc", Number: "builder 2/5", Instruction: "RUN x", Tags: []string{"app"}}
	p := Process{
		Step: step, Host: 4242, PID: 1, UIDs: [2]uint32{99999999, 99999999 + 32}, GIDs: [2]uint32{99999999, 1},
		Groups: []uint32{99999999}, Comm: "z",
		Args: []string{"echo", "\x1b[2J", "a\tb", "c\nd", "\xff", "ü"}, UIDMap: "0 99999999 65536\n",
		GIDMap:  "0 99999999 65536\n",
		Started: time.Unix(100, 0), Now: time.Unix(110, 0), CPU: time.Second, VSZ: 4096, RSS: 2048, Seccomp: "0",
	}
	zombie := Process{Step: step, Comm: "gone", UIDs: [2]uint32{99999999, 99999999}, UIDMap: "nonsense"}
	f := Found{Processes: []Process{p, zombie}, Names: map[*Step]Names{step: {Users: map[uint32]string{32: "w\x1bw"}}}}
	for _, test := range []struct{ descriptors, want string }{
		{"user,huser", "USER HUSER / w?w 100000031 / ? 99999999"},
		{"ruser group rgroup groups", "RUSER GROUP RGROUP GROUPS / 0 ? 0 0 / ? ? ? -"},
		{"hgroups uidmap", "HGROUPS UIDMAP / 99999999 0 99999999 65536 / - nonsense"},
		{"args", "COMMAND / echo ?[2J a?b c?d ? ü / [gone]"},
		{"%C etime time vsz rss", "%CPU ELAPSED TIME VSZ RSS / 10.000 10s 1s 4 2 / 0.000 0s 0s 0 0"},
		{"build step tag instruction seccomp",
			"BUILD STEP TAG INSTRUCTION SECCOMP / abc builder 2/5 app RUN x disabled / abc builder 2/5 app RUN x ?"},
	} {
		table, err := NewTable(strings.Fields(test.descriptors))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if err := table.Write(&out, f); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(out.String()) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		if got := strings.Join(lines, " / "); got != test.want {
			t.Errorf("%s: %q, want %q", test.descriptors, got, test.want)
		}
	}
	if _, err := NewTable([]string{"pid,nosuch"}); err == nil ||
		!strings.Contains(err.Error(), `"nosuch" is no descriptor`) || !strings.Contains(err.Error(), "vsz") {
		t.Errorf("error %v", err)
	}
	if IsDescriptors("pid,") || !IsDescriptors("pid,huser") || IsDescriptors("app") {
		t.Error("IsDescriptors is wrong")
	}
}

func TestNamesComeFromRegularFilesInsideTheRoot(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	// the root's own, which is a link to nowhere
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "etc/group")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/passwd"),
		[]byte("web:x:33:\nlate:x:33:\n:x:1\nbad\nbig:x:99999999999\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := namesOf(root)
	if len(n.Users) != 1 || n.Users[33] != "web" || len(n.Groups) != 1 || n.Groups[33] != "web" {
		t.Errorf("%+v", n)
	}
	if err := os.Remove(filepath.Join(root, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "etc/passwd"), 0o644); err != nil {
		t.Fatal(err)
	}
	if n := namesOf(root); len(n.Users)+len(n.Groups) != 0 {
		t.Errorf("names of a pipe: %+v", n)
	}
	if n := namesOf(filepath.Join(root, "none")); n.Users != nil {
		t.Errorf("%+v", n)
	}
}
