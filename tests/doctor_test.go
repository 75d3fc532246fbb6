package tests_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A finding is what cooper doctor says about one thing.
type finding struct{ Name, Status, Detail, Fix string }

type diagnosis struct {
	Works                         bool
	Mode, Driver, Commit, Summary string
	Checks                        []finding
}

// diagnose reads the JSON of a doctor that must have said so much and no more.
func (r result) diagnose(t *testing.T) diagnosis {
	t.Helper()
	var d diagnosis
	if err := json.Unmarshal([]byte(r.Stdout), &d); err != nil {
		t.Fatalf("%v: status %d\n%s%s", err, r.Code, tail(r.Stdout), tail(r.Stderr))
	}
	if want := map[bool]int{true: 0, false: 125}[d.Works]; r.Code != want || r.Stderr != "" {
		t.Errorf("works is %v and the status %d\n%s", d.Works, r.Code, tail(r.Stderr))
	}
	if !strings.HasPrefix(d.Summary, "a build will ") {
		t.Errorf("the summary is %q", d.Summary)
	}
	for _, c := range d.Checks {
		if (c.Status == "warn" || c.Status == "fail" && c.Name != "run-step") && c.Fix == "" || c.Detail == "" ||
			strings.Contains(c.Detail+c.Fix, "\n") {
			t.Errorf("a poor check: %+v", c)
		}
	}
	return d
}

func (d diagnosis) has(t *testing.T, name, status string, texts ...string) {
	t.Helper()
	for _, c := range d.Checks {
		if c.Name != name {
			continue
		}
		if c.Status != status {
			t.Errorf("%s is %+v, want %s", name, c, status)
		}
		for _, text := range texts {
			if !strings.Contains(c.Detail+" fix: "+c.Fix, text) {
				t.Errorf("%s says nothing of %q: %+v", name, text, c)
			}
		}
		return
	}
	t.Errorf("there is no check %s", name)
}

func TestDoctorOnThisMachine(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		d := s.cooper(t, "doctor", "--json").diagnose(t)
		for _, name := range []string{"user-namespace", "id-map", "setgroups", "overlay", "overlay-volatile", "proc",
			"seccomp", "store", "run-step"} {
			d.has(t, name, "ok")
		}
		mode := map[bool]string{true: "root", false: "rootless"}[m.root()]
		if !d.Works || d.Mode != mode || d.Driver != "overlay" || d.Commit != "rename" {
			t.Errorf("%+v", d)
		}
		if _, err := os.Lstat(s.store()); err == nil {
			t.Error("a store was made")
		}
		s.checkNoLeftovers(t)

		// What it says comes true, with the store that there is then, too.
		if err := s.makeBusybox(); err != nil {
			t.Fatal(err)
		}
		s.write(t, "busybox/Run", busyboxfile+"RUN true\n")
		s.build(t, "-f", "busybox/Run", "busybox")
		s.cooper(t, "doctor", "--json").diagnose(t).has(t, "store", "ok", "opened")
		s.checkNoLeftovers(t)

		v := s.cooper(t, "doctor", "--json", "--storage-driver", "vfs", "--root", s.path("vfs")).diagnose(t)
		if !v.Works || v.Driver != "vfs" || v.Commit != "driver" {
			t.Errorf("%+v", v)
		}
		text := s.cooper(t, "doctor")
		if lines := strings.Split(strings.TrimSpace(text.Stdout), "\n"); text.Code != 0 || lines[len(lines)-1] != d.Summary {
			t.Errorf("status %d\n%s%s", text.Code, text.Stdout, text.Stderr)
		}
		s.cooper(t, "doctor", "me").fails(t, 2, "no arguments")
	})
}

// A wreck is a machine on which something is wrong, and what doctor says of it.
type wreck struct {
	name string
	// root has it be root's doctor, and not an ordinary user's.
	root bool
	// script is run by root in a mount namespace of its own, inside by the user in a user namespace of one ID.
	script, inside string
	// denials are in force below, before and around are what starts the rest as root and as the user.
	denials        []denial
	before, around []string
	env, args      []string

	check, status string
	want          []string
	works         bool
	mode          string
	// mend is which of the commands that doctor prints, from 1, makes the check ok; 0 if there is none, or none that this
	// machine has.
	mend int
}

// needsRoot reports whether only root can make such a machine.
func (w wreck) needsRoot() bool {
	return w.root || w.script != "" || len(w.denials) > 0 || len(w.before) > 0
}

// doctor runs the wreck's doctor, after more of its scripts.
func (w wreck) doctor(t *testing.T, s *site, more string) diagnosis {
	t.Helper()
	command := append([]string{suite.cooper, "doctor", "--json"}, w.args...)
	command = append(append([]string(nil), w.around...), command...)
	script := w.script + "\n" + more
	if w.inside != "" {
		script = ""
		command = append([]string{"unshare", "--user", "--map-current-user", "--keep-caps", "sh", "-c",
			w.inside + "\n" + more + "\nexec \"$@\"", "sh"}, command...)
	}
	cmd := s.command(command[0], command[1:]...)
	if w.needsRoot() {
		command = append(append([]string(nil), w.before...), s.asUser(command)...)
		command = append([]string{"--mount", "--propagation", "private", "sh", "-ec", script + "\nexec \"$@\"", "sh"},
			filtered(t, w.denials, command)...)
		cmd = exec.Command("unshare", command...)
		cmd.Dir = s.dir
	}
	cmd.Env = append(append([]string(nil), s.env...), w.env...)
	return runCommand(t, cmd).diagnose(t)
}

// command gives one of the commands of a remedy.
func (d diagnosis) command(t *testing.T, check string, which int) string {
	t.Helper()
	for _, c := range d.Checks {
		if c.Name != check {
			continue
		}
		fix, _, _ := strings.Cut(strings.TrimPrefix(c.Fix, "run as root: "), "; in a ")
		if commands := strings.Split(fix, ", or "); which <= len(commands) {
			return commands[which-1]
		}
	}
	t.Fatalf("%s has no command %d in its remedy: %+v", check, which, d.Checks)
	return ""
}

// TestDoctorFindsWhatIsWrong breaks one thing at a time, and repairs it as doctor says where that can be done here.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.prepareWrecks(t)
		for _, w := range s.wrecks() {
			if w.root != m.root() || w.needsRoot() && os.Getuid() != 0 {
				continue
			}
			t.Run(w.name, func(t *testing.T) {
				d := w.doctor(t, s, "")
				d.has(t, w.check, w.status, w.want...)
				if d.Works != w.works || w.mode != "" && d.Mode != w.mode {
					t.Errorf("works is %v, mode %q: %s", d.Works, d.Mode, d.Summary)
				}
				if w.mend > 0 {
					fix := d.command(t, w.check, w.mend)
					w.doctor(t, s, "set +e\n{ "+fix+"\n} >/dev/null 2>&1\nset -e\n").has(t, w.check, "ok")
				}
			})
		}
		s.checkNoLeftovers(t)
	})
}

// TestEachCheckOfDoctorFailsSomewhere: a check that no test makes fail may be one that can't.
func TestEachCheckOfDoctorFailsSomewhere(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	failed := map[string]bool{}
	for _, w := range s.wrecks() {
		if w.status == "fail" || w.status == "warn" {
			failed[w.check] = true
		}
	}
	checks := s.cooper(t, "doctor", "--json").diagnose(t).Checks
	for _, c := range checks {
		if !failed[c.Name] {
			t.Errorf("no machine on which %s isn't ok is among the wrecks", c.Name)
		}
		delete(failed, c.Name)
	}
	if len(failed) > 0 || len(checks) != 25 {
		t.Errorf("%d checks, and doctor doesn't know %v", len(checks), failed)
	}
}

// TestAsRootBuildBelowFilters: what doctor calls no failure is none. Only root can install a filter and leave newuidmap
// its power.
func TestAsRootBuildBelowFilters(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		if err := s.makeBusybox(); err != nil {
			t.Fatal(err)
		}
		s.write(t, "busybox/Run", busyboxfile+"RUN echo 1 >/1\n")
		s.env = append(s.env, "SOURCE_DATE_EPOCH=1000000000")
		want := s.build(t, "-f", "busybox/Run", "busybox")
		for name, denials := range map[string][]denial{"no volatile": noVolatile(), "prctl": noPrctlFilter(),
			"clone3": deny(unix.EPERM, unix.SYS_CLONE3)} {
			command := filtered(t, denials,
				s.asUser([]string{suite.cooper, "build", "--no-cache", "-f", "busybox/Run", "busybox"}))
			cmd := exec.Command(command[0], command[1:]...)
			cmd.Dir, cmd.Env = s.dir, s.env
			if r := runCommand(t, cmd); r.Code != 0 || strings.TrimSpace(r.Stdout) != want {
				t.Errorf("%s: status %d, image %s and not %s\n%s", name, r.Code, r.Stdout, want, tail(r.Stderr))
			}
		}
		s.checkNoLeftovers(t)
	})
}
