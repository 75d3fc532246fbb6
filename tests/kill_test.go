package tests_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killFile has steps of every kind, so that a signal at any time meets something half done. SITE tells their commands
// from those of other builds.
const killFile = `FROM base AS one
RUN : SITE; for i in $(seq 200); do echo $i >/one-$i; done; sleep 0.05
COPY files /files
RUN rm -r /files && echo 1 >/one
FROM base AS two
RUN --mount=type=cache,target=/cache : SITE; echo x >>/cache/x; dd if=/dev/zero of=/big bs=1M count=6 2>/dev/null; chown 33:33 /big
FROM one
COPY --from=two /big /big
RUN --mount=from=two,target=/two,rw : SITE; sleep 0.05; ls / /two >/listing; touch /two/x
`

// makeKillable puts the base and the context into a site.
func (s *site) makeKillable(t *testing.T) {
	t.Helper()
	s.busybox(t, "base")
	s.write(t, "ctx/Containerfile", strings.ReplaceAll(killFile, "SITE", filepath.Base(s.dir)))
	for i := range 100 {
		s.write(t, fmt.Sprintf("ctx/files/%d", i), strings.Repeat("x", i*100))
	}
}

// TestKilledBuildLeavesNothing ends builds by SIGKILL at random times, sometimes the process the user started and
// sometimes its child in the user namespace. What is left is at most what the next build removes.
func TestKilledBuildLeavesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSiteOnDisk(t, m)
		s.makeKillable(t)
		s.killBuilds(t, 8)
		s.checkStore(t, "after")
	})
}

// TestKilledShiftedBuildLeavesNothing does the same to steps that have a second map, with every driver.
func TestKilledShiftedBuildLeavesNothing(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		flag := "--userns=keep-id"
		if m.root() {
			flag = "--uidmap=0:500000:65536"
		}
		for _, d := range driversOf(t, m) {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				s := newDriverSite(t, m, d)
				s.makeKillable(t)
				rounds := 4
				if d.name != "overlay" {
					rounds = 2 // one for each process; builds take several times as long
				}
				s.killBuilds(t, rounds, flag)
			})
		}
	})
}

// killBuilds kills builds with these flags, and has another one after each.
func (s *site) killBuilds(t *testing.T, rounds int, flags ...string) {
	t.Helper()
	args := func(more ...string) []string { return append(append([]string{}, flags...), more...) }
	started := time.Now()
	want := s.build(t, args("--no-cache", "-t", "whole", "ctx")...)
	whole := time.Since(started)
	layers, commands := s.layers(t), []string{": " + filepath.Base(s.dir) + ";"}
	for round := range rounds {
		cmd := s.command(suite.cooper,
			append([]string{"build"}, args("--no-cache", "-t", "killed", "-o", "type=oci,dest="+s.path("killed.tar"),
				"ctx")...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.Int64N(int64(whole) * 9 / 10)))
		victim, child := cmd.Process.Pid, childOf(cmd.Process.Pid)
		if round%2 == 1 && child != 0 {
			victim = child
		}
		if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
			t.Log(err)
		}
		_ = cmd.Wait() // it was killed
		s.waitForEnd(t, s.path("killed.tar"))
		if errs := s.waitForLeftovers(commands); len(errs) > 0 { // mounts and processes don't wait for another build
			t.Errorf("round %d: %v", round, errors.Join(errs...))
		}
		if got := s.build(t, args("-t", "after", "ctx")...); round%4 == 3 && got != want {
			t.Errorf("round %d: the build after a kill gave %s, not %s", round, got, want)
		}
		s.checkNoLeftovers(t, commands...)
	}
	if got := s.build(t, args("-t", "after", "-o", "type=oci,compression=uncompressed,dest=after.tar",
		"ctx")...); got != want {
		t.Errorf("the build after all kills gave %s, not %s", got, want)
	}
	if files := mustFiles(t, s.path("after.tar")); files["big"].Header == nil || files["big"].Header.Uid != 33 {
		t.Error("the image after all kills is not whole")
	}
	if left := s.layers(t); len(left) != len(layers) {
		t.Errorf("layers %q, before the kills %q", left, layers)
	}
}

// waitForEnd waits until nothing of a killed build runs: what is inside the namespace is ended by the kernel a moment
// later, and holds its locks until then. A process that ends has no command line any more long before its files are
// closed, so that whichever cooper ends at the first look is waited for, too.
func (s *site) waitForEnd(t *testing.T, argument string) {
	t.Helper()
	left := processesThat(func(pid int) bool {
		p := statOf(pid)
		return p.ending() && (p.comm == "cooper" || p.comm == "exe")
	})
	eventually(t, func() string { return fmt.Sprint(left.errors()) }, func() bool {
		eachProcess(func(pid int, _ string) {
			if strings.Contains(commandLine(pid), argument) {
				left.add(pid)
			}
		})
		left.dropEnded()
		return len(left) == 0
	})
}

// A procStat is what /proc/PID/stat says (proc_pid_stat(5)).
type procStat struct {
	comm, state    string
	parent         int
	flags, threads int
	// started is in clock ticks since the machine was started.
	started int
}

// ending reports whether a process is on its way out and may still have files open: its last thread is no zombie yet.
func (p procStat) ending() bool {
	const exiting = 4 // PF_EXITING
	return p.flags&exiting != 0 && !p.ended()
}

// ended reports whether a process has no files open any more, or is gone.
func (p procStat) ended() bool {
	return p.state == "" || (p.state == "Z" || p.state == "X") && p.threads <= 1
}

// statOf is zero for a process that is gone.
func statOf(pid int) (p procStat) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p
	}
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	fields := strings.Fields(string(text[end+1:]))
	p.comm, p.state = string(text[open+1:end]), fields[0]
	for i, to := range map[int]*int{1: &p.parent, 6: &p.flags, 17: &p.threads, 19: &p.started} {
		if *to, err = strconv.Atoi(fields[i]); err != nil {
			return procStat{}
		}
	}
	return p
}

// childOf is a child of a process that is the same program, 0 if it has none.
func childOf(parent int) int {
	child := 0
	eachProcess(func(pid int, _ string) {
		if statOf(pid).parent == parent && strings.HasPrefix(commandLine(pid), suite.cooper+" ") {
			child = pid
		}
	})
	return child
}

// checkStore has the tools that share the store read every layer of an image and list the rest.
func (s *site) checkStore(t *testing.T, image string) {
	t.Helper()
	s.run(t, "skopeo", "--insecure-policy", "copy", "-q", "containers-storage:localhost/"+image+":latest",
		"dir:"+s.path("checked-"+image))
	s.run(t, "podman", "images", "-a")
	if out := s.run(t, "buildah", "images", "-a"); !strings.Contains(out, image) {
		t.Errorf("buildah doesn't see %s:\n%s", image, out)
	}
}

// TestSignalEndsTheBuild sends what Ctrl-C, a service manager and a closed terminal send.
func TestSignalEndsTheBuild(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		sleep := fmt.Sprintf("sleep 1000.%d", s.number)
		for _, c := range []struct {
			signal syscall.Signal
			group  bool
			step   string
		}{
			{syscall.SIGINT, false, sleep},
			{syscall.SIGINT, true, "trap '' INT TERM; " + sleep},
			{syscall.SIGTERM, false, "sh -c '" + sleep + " & " + sleep + "'"},
			{syscall.SIGHUP, false, sleep + " & " + sleep},
		} {
			t.Run(fmt.Sprintf("%v group=%t", c.signal, c.group), func(t *testing.T) {
				s.write(t, "ctx/Containerfile", "FROM base\nRUN echo started; "+c.step+"\n")
				cmd := s.command(suite.cooper, "build", "--progress=plain", "-t", "never", "ctx")
				if cmd.SysProcAttr == nil {
					cmd.SysProcAttr = &syscall.SysProcAttr{}
				}
				cmd.SysProcAttr.Setpgid = true
				begun := newWaitFor("started\n")
				cmd.Stderr = begun
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				begun.wait(t)
				target := cmd.Process.Pid
				if c.group {
					target = -target
				}
				if err := syscall.Kill(target, c.signal); err != nil {
					t.Fatal(err)
				}
				_ = cmd.Wait() // its status is looked at below
				if code := cmd.ProcessState.ExitCode(); code != 128+int(c.signal) {
					t.Errorf("exit status %d, not %d", code, 128+int(c.signal))
				}
				s.checkNoLeftovers(t, sleep)
			})
		}
	})
}

// waitFor is a writer that tells when a text has been written.
type waitFor struct {
	text string
	seen bytes.Buffer
	done chan struct{}
}

func newWaitFor(text string) *waitFor { return &waitFor{text: text, done: make(chan struct{})} }

func (w *waitFor) Write(p []byte) (int, error) {
	had := strings.Contains(w.seen.String(), w.text)
	w.seen.Write(p)
	// The step's own text has the word too, but not alone at the end of a line.
	if !had && strings.Contains(w.seen.String(), w.text) {
		close(w.done)
	}
	return len(p), nil
}

func (w *waitFor) wait(t *testing.T) {
	t.Helper()
	select {
	case <-w.done:
	case <-time.After(patience):
		t.Fatalf("%q was not written in %s", w.text, patience)
	}
}
