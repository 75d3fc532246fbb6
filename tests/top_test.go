package tests_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// runDir is where the site's user has its running steps noted.
func (s *site) runDir() string {
	if s.mode.root() {
		return "/run/cooper"
	}
	return s.path("run/cooper")
}

// top runs cooper top and gives its lines, as fields.
func (s *site) top(t *testing.T, args ...string) [][]string {
	t.Helper()
	r := s.cooper(t, append([]string{"top"}, args...)...)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("cooper top %q: status %d\n%s", args, r.Code, tail(r.Stderr))
	}
	var rows [][]string
	for line := range strings.Lines(r.Stdout) {
		rows = append(rows, strings.Fields(line))
	}
	return rows
}

// startSleeper starts a build whose step says that it runs and then waits for a long time; tag is its own.
func (s *site) startSleeper(t *testing.T, tag string, flags ...string) *exec.Cmd {
	t.Helper()
	s.write(t, "sleeper/Containerfile", "FROM base AS first\nRUN true\nFROM base AS builder\n"+
		"RUN echo 'web:x:1234:' >>/etc/group; echo 'web:x:1234:1234::/:/bin/sh' >>/etc/passwd; echo 'bad\\033[2J:x:77:77::/:/bin/sh' >>/etc/passwd\n"+
		"USER web\nCOPY --from=first /etc/passwd /first\nRUN sleep 1000 & exec sleep 2000\n")
	cmd := s.command(suite.cooper, append([]string{"build", "--no-cache", "-t", tag, "sleeper"}, flags...)...)
	var errs strings.Builder // of use only when the build has ended
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // nothing else ends it
			_ = cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the build said\n%s", tail(errs.String()))
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		// The shell's own command line has both, too, and it goes by another name until it has executed the program.
		r := s.cooper(t, "top", tag, "comm,args")
		if lines := strings.Split(strings.Join(strings.Fields(r.Stdout), " "), " sleep sleep "); r.Code == 0 &&
			slices.Equal(lines[1:], []string{"2000", "1000"}) {
			return cmd
		}
		if time.Now().After(end) {
			t.Fatalf("the step doesn't show: status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	}
}

func TestTopShowsRunningSteps(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		if rows := s.top(t, "pid"); !m.root() && len(rows) != 1 {
			t.Errorf("without a build there is %q", rows)
		}
		s.busybox(t, "base")
		tag := fmt.Sprintf("top-%d", s.number)
		began := time.Now()
		build := s.startSleeper(t, tag)

		all := s.top(t, tag)
		if got := strings.Join(all[0], " "); got != "BUILD STEP USER PID HUSER PPID %CPU ELAPSED TIME COMMAND" {
			t.Errorf("the header is %q", got)
		}
		// STEP is two words: "builder 3/4".
		if row := strings.Join(all[1][1:6], " "); len(all) != 3 || !strings.HasPrefix(row, "builder ") ||
			!strings.Contains(row, " web 1 ") {
			t.Errorf("rows: %q", all)
		}
		id := all[1][0]
		for _, name := range []string{id, id[:6], tag, "localhost/" + tag + ":latest", tag + ":latest", "localhost/" + tag} {
			if rows := s.top(t, name, "comm"); len(rows) != 3 || rows[1][0] != "sleep" {
				t.Errorf("%s: %q", name, rows)
			}
		}
		// What the kernel says of the first process from outside.
		row := s.top(t, tag, "hpid,pid,ppid", "user", "group", "ruser", "rgroup", "seccomp", "capeff", "state", "tty", "nice",
			"uidmap", "tag", "pgid")[1]
		host, err := strconv.Atoi(row[0])
		if err != nil || !strings.HasSuffix(commandLine(host), "sleep 2000") {
			t.Errorf("process %q is %q", row[0], commandLine(host))
		}
		if got := strings.Join(row[1:11], " "); got != "1 0 web web web web filter none S ?" || row[11] != "0" {
			t.Errorf("values %q", row)
		}
		want, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", host))
		if err != nil || !strings.Contains(strings.Join(row, " "),
			strings.Join(strings.Fields(strings.Split(string(want), "\n")[0]), " ")) {
			t.Errorf("the map is %q: %q", row, want)
		}
		status, err := os.Stat(fmt.Sprintf("/proc/%d", host))
		if err != nil {
			t.Fatal(err)
		}
		st, _ := status.Sys().(*syscall.Stat_t)
		if got := s.top(t, tag, "huser")[1][0]; got != strconv.Itoa(int(st.Uid)) || st.Uid == 1234 {
			t.Errorf("the host's user is %s, and by stat %d", got, st.Uid)
		}
		elapsed, err := time.ParseDuration(s.top(t, tag, "etime")[1][0])
		if lived := time.Since(began); err != nil || elapsed <= 0 || elapsed > lived+20*time.Millisecond {
			t.Errorf("it runs for %v, and the build for %v: %v", elapsed, lived, err)
		}
		every := s.cooper(t, "top", tag,
			"args,capamb,capbnd,capeff,capinh,capprm,comm,command,etime,group,groups,hgroup,hgroups,hpid,huser,label,nice,pcpu,"+
				"pgid,pid,ppid,rgroup,rss,ruser,seccomp,state,stime,time,tty,user,vsz,build,step,tag,instruction,uidmap,gidmap")
		if every.Code != 0 || !strings.Contains(every.Stdout, "RUN sleep 1000") || strings.Contains(every.Stdout, "\x1b") {
			t.Errorf("status %d\n%s%s", every.Code, every.Stdout, every.Stderr)
		}
		if inside := s.cooper(t, "unshare", suite.cooper, "top", tag); !m.root() {
			inside.fails(t, 125, "1 running step can't be looked at from here", "run cooper top outside of cooper unshare")
		}
		s.cooper(t, "top", "-w500ms").fails(t, 2, "-w500ms: a time goes with an equals sign", "-w=500ms")
		s.cooper(t, "top", "--watch", "500ms").fails(t, 2, "--watch=500ms")
		s.cooper(t, "top", tag, "nonsense").fails(t, 2, `"nonsense" is no descriptor`, "capbnd", "uidmap")
		s.cooper(t, "top", "nonsense").fails(t, 2, "nonsense", "neither a build", "capbnd", "uidmap")

		if err := build.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = build.Wait()
		s.eventuallyNoSteps(t, tag, id)
	})
}

func TestTopWatches(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	s.busybox(t, "base")
	tag := fmt.Sprintf("watch-%d", s.number)
	build := s.startSleeper(t, tag)
	cmd := s.command(suite.cooper, "top", "--watch=100ms", tag, "comm")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	seen := map[string]int{}
	for seen["sleep"] < 4 && lines.Scan() {
		seen[strings.TrimSpace(lines.Text())]++
	}
	if err := build.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = build.Wait()
	// Once the build is gone there are only headers.
	for headers := 0; headers < 2 && lines.Scan(); {
		if headers++; strings.TrimSpace(lines.Text()) == "sleep" {
			headers = 0
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || seen["COMMAND"] < 2 {
		t.Errorf("%v, seen %v", err, seen)
	}
	s.cooper(t, "top", "--watch=1ms").fails(t, 2, "--watch=1ms: must be a time of at least 100ms")
}

func TestTopShowsTheStepsOfOCIRuntimes(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		for _, runtime := range []string{"crun", "runc"} {
			tag := fmt.Sprintf("top-%s-%d", runtime, s.number)
			build := s.startSleeper(t, tag, "--runtime="+runtime)
			rows := s.top(t, tag, "build", "user,pid,ppid,comm")
			if len(rows) != 3 || strings.Join(rows[1][1:], " ") != "web 1 0 sleep" || rows[2][4] != "sleep" {
				t.Errorf("%s: %q", runtime, rows)
			}
			if err := build.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = build.Wait()
			s.eventuallyNoSteps(t, tag, rows[1][0])
		}
	})
}

// eventuallyNoSteps waits until a build that was killed shows nowhere any more.
func (s *site) eventuallyNoSteps(t *testing.T, tag, id string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		r := s.cooper(t, "top", tag)
		left, err := filepath.Glob(filepath.Join(s.runDir(), id+"-*"))
		if err != nil {
			t.Fatal(err)
		}
		if r.Code == 2 && len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still there: %q\n%s", left, r.Stdout)
		}
	}
}

// TestTopWithoutTheRuntimeDirectory: a build that can't note its steps is built all the same.
func TestTopWithoutTheRuntimeDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t, ordinary(t))
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "busybox/Run", busyboxfile+"RUN true\nRUN true && true\n")
	s.write(t, "run/cooper", "a file")
	r := s.cooper(t, "build", "--progress=plain", "-f", "busybox/Run", "busybox")
	if r.Code != 0 || strings.Count(r.Stderr, "cooper top doesn't show this build") != 1 {
		t.Errorf("status %d\n%s", r.Code, tail(r.Stderr))
	}
	if err := os.Remove(s.path("run/cooper")); err != nil {
		t.Fatal(err)
	}
	s.build(t, "--no-cache", "-f", "busybox/Run", "busybox")
	if left, err := os.ReadDir(s.path("run/cooper")); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
	if rows := s.top(t); len(rows) != 1 || rows[0][0] != "BUILD" {
		t.Errorf("rows: %q", rows)
	}
}
