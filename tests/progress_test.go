package tests_test

import (
	"bufio"
	"bytes"
	"io"
	"strings"
	"syscall"
	"testing"
)

// TestPullIsShownAsWhatItIs looks at the first lines that a new user sees.
func TestPullIsShownAsWhatItIs(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		from := newSite(t, m)
		address, _ := from.startRegistry(t)
		from.busybox(t, "base")
		name := address + "/lib/base:1"
		from.pushAs(t, "oci", "localhost/base:latest", name)
		s := newSite(t, m)
		s.write(t, "ctx/Containerfile", "FROM "+name+"\nRUN true\n")
		r := s.cooper(t, "build", "--tls-verify=false", "-t", "app", "-t", "other:2", "ctx")
		if r.Code != 0 || !strings.HasPrefix(r.Stderr, "#1 pulling "+name+"\n#1 ") {
			t.Errorf("status %d, a pull is shown as:\n%s", r.Code, r.Stderr)
		}
		for _, want := range []string{"\n#1 DONE ", "\ntagged localhost/app:latest\n", "\ntagged localhost/other:2\n"} {
			if !strings.Contains(r.Stderr, want) {
				t.Errorf("%q is missing:\n%s", want, r.Stderr)
			}
		}
		s.write(t, "ctx/Containerfile", "FROM "+address+"/lib/none\n")
		r = s.cooper(t, "build", "--tls-verify=false", "ctx")
		if r.Code != 1 || !strings.HasPrefix(r.Stderr, "#1 pulling "+address+"/lib/none\n#1 ERROR: ") {
			t.Errorf("status %d, a pull that fails is shown as:\n%s", r.Code, r.Stderr)
		}
	})
}

// threeStages are steps that run at once: two that last, and one that does as it is told. The directory tells it that
// the others run.
const threeStages = `FROM base AS a
RUN --mount=type=cache,id=three,target=/m touch /m/a; echo running; sleep 300
FROM base AS b
RUN --mount=type=cache,id=three,target=/m touch /m/b; echo running; sleep 300
FROM base AS c
RUN --mount=type=cache,id=three,target=/m echo running; %
FROM base
COPY --from=a /tmp /a
COPY --from=b /tmp /b
COPY --from=c /tmp /c
`

// TestStepsStoppedForAnotherAreCanceled has one of three steps fail, and then the build be stopped.
func TestStepsStoppedForAnotherAreCanceled(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.busybox(t, "base")
		s.write(t, "ctx/Containerfile",
			strings.Replace(threeStages, "%", "until test -e /m/a && test -e /m/b; do sleep 0.1; done; rm /m/*; exit 3", 1))
		r := s.cooper(t, "build", "--jobs=3", "--progress=plain", "ctx")
		if r.Code != 1 || strings.Count(r.Stderr, "ERROR: ") != 1 || strings.Count(r.Stderr, " CANCELED\n") != 2 {
			t.Errorf("status %d:\n%s", r.Code, r.Stderr)
		}
		r = s.cooper(t, "build", "--jobs=3", "--quiet", "ctx")
		if r.Code != 1 || strings.Count(r.Stderr, "\n > ") != 1 || !strings.HasPrefix(r.Stderr, "------\n > [c 2/2] RUN") {
			t.Errorf("status %d:\n%s", r.Code, r.Stderr)
		}
		s.write(t, "ctx/Containerfile", strings.Replace(threeStages, "%", "sleep 300", 1))
		for signal, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
			got, said := s.stopRunning(t, signal)
			if got != code || strings.Contains(said, "ERROR") || strings.Count(said, " CANCELED\n") != 3 ||
				!strings.HasSuffix(said, "\ncooper: stopped by "+signalName(signal)+"\n") {
				t.Errorf("status %d after %v:\n%s", got, signal, said)
			}
		}
		s.checkNoLeftovers(t)
	})
}

func signalName(s syscall.Signal) string {
	return map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[s]
}

// stopRunning builds until all three steps have said that they run, and stops the build by a signal.
func (s *site) stopRunning(t *testing.T, signal syscall.Signal) (code int, said string) {
	t.Helper()
	cmd := s.command(suite.cooper, "build", "--jobs=3", "--progress=plain", "ctx")
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(errs, &all))
	for running := 0; running < 3 && lines.Scan(); {
		if strings.HasSuffix(lines.Text(), " running") {
			running++
		}
	}
	if err := cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // to the end
	}
	_ = cmd.Wait() // its status is what counts
	return cmd.ProcessState.ExitCode(), all.String()
}
