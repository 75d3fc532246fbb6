package tests_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

func runtimes() []string { return []string{"crun", "runc"} }

// TestRuntimeMissing looks for runtimes in a PATH that has none.
func TestRuntimeMissing(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM scratch\nCOPY Containerfile /\n")
		s.withoutEmulators(t)
		s.cooper(t, "build", "--runtime=runc", "ctx").fails(t, 125, "OCI runtime runc: not in PATH", "apt-get install runc")
		s.cooper(t, "build", "--isolation=oci", "ctx").fails(t, 125, "OCI runtime crun, runc: not in PATH",
			"apt-get install crun")
	})
}

// TestRuntimeEndsWithTheBuild ends builds by signals, and by SIGKILL, while a runtime runs a step.
func TestRuntimeEndsWithTheBuild(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		sleep := fmt.Sprintf("sleep 1000.%d", s.number)
		for _, runtime := range runtimes() {
			for _, c := range []struct {
				signal syscall.Signal
				step   string
			}{
				{syscall.SIGINT, sleep},
				{syscall.SIGTERM, "trap '' INT TERM; " + sleep + " & " + sleep},
				{syscall.SIGKILL, "setsid " + sleep + " & " + sleep},
			} {
				t.Run(fmt.Sprintf("%s %v", runtime, c.signal), func(t *testing.T) {
					s.write(t, "ctx/Containerfile", "FROM base\nRUN echo started; "+c.step+"\n")
					cmd := s.command(suite.cooper, "build", "--progress=plain", "--runtime="+runtime, "-t", "never", "ctx")
					begun := newWaitFor("started\n")
					cmd.Stderr = begun
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					begun.wait(t)
					if err := cmd.Process.Signal(c.signal); err != nil {
						t.Fatal(err)
					}
					_ = cmd.Wait() // its status is looked at below
					if code := cmd.ProcessState.ExitCode(); c.signal != syscall.SIGKILL && code != 128+int(c.signal) {
						t.Errorf("exit status %d, not %d", code, 128+int(c.signal))
					}
					s.write(t, "ctx/Containerfile", "FROM base\nRUN true\n")
					s.build(t, "ctx") // removes what a killed one has left in the store
					s.checkNoLeftovers(t, sleep, "--bundle /mnt step")
				})
			}
		}
	})
}

// TestRuntimesRunStepsAtTheSameTime gives all runtimes the same independent stages.
func TestRuntimesRunStepsAtTheSameTime(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.env = append(s.env, "SOURCE_DATE_EPOCH=1700000000")
		s.busybox(t, "base")
		var file, last strings.Builder
		last.WriteString("FROM base\n")
		for i := range 6 {
			fmt.Fprintf(&file, "FROM base AS s%d\nRUN for i in $(seq 5); do echo %[1]d >>/f%[1]d; done; chown %[1]d:7 /f%[1]d; sleep 0.1\n", i)
			fmt.Fprintf(&last, "COPY --from=s%d /f%[1]d /\n", i)
		}
		s.write(t, "ctx/Containerfile", file.String()+last.String())
		want := s.build(t, "--no-cache", "--jobs=6", "ctx")
		for _, runtime := range runtimes() {
			if got := s.build(t, "--no-cache", "--jobs=6", "--runtime="+runtime, "ctx"); got != want {
				t.Errorf("%s gives %s, not %s", runtime, got, want)
			}
		}
		s.checkNoLeftovers(t, "sleep 0.1", "--bundle /mnt step")
	})
}
