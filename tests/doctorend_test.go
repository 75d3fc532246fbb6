package tests_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scratch lists the directories that a doctor fills where there is no store yet.
func (s *site) scratch(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(s.path("home/.cooper-doctor-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// endDoctor sends a signal to a doctor that is at work in its directory, and gives its status and what it said.
func (s *site) endDoctor(t *testing.T, signal syscall.Signal) (code int, said string) {
	t.Helper()
	before := len(s.scratch(t))
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		var out bytes.Buffer
		cmd := s.command(suite.cooper, "doctor", "--root", s.store(), "--runroot", s.path("run/containers"))
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		working := func() bool {
			for len(s.scratch(t)) == before {
				select {
				case <-done:
					return false // it was faster than this look
				default:
				}
			}
			return true
		}()
		if working {
			_ = cmd.Process.Signal(signal)
		}
		<-done
		if working && (signal != syscall.SIGKILL || len(s.scratch(t)) > before) {
			return cmd.ProcessState.ExitCode(), out.String()
		}
	}
	t.Fatal("no doctor was seen at work")
	return 0, ""
}

func TestAnInterruptedDoctorSaysNothingOfTheMachine(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		for signal, want := range map[syscall.Signal]string{syscall.SIGINT: "cooper: stopped by SIGINT\n",
			syscall.SIGTERM: "cooper: stopped by SIGTERM\n"} {
			if code, said := s.endDoctor(t, signal); code != 128+int(signal) || said != want {
				t.Errorf("%v: status %d\n%s", signal, code, said)
			}
			if dirs := s.scratch(t); len(dirs) > 0 {
				t.Errorf("%v: %v were left", signal, dirs)
			}
		}
	})
}

func TestTheNextDoctorRemovesWhatAKilledOneLeft(t *testing.T) {
	eachMode(t, func(t *testing.T, m mode) {
		s := newSite(t, m)
		s.endDoctor(t, syscall.SIGKILL)
		left := s.scratch(t)
		if len(left) != 1 {
			t.Fatalf("%v were left", left)
		}
		s.waitForEnd(t, s.store())
		if r := s.cooper(t, "doctor"); r.Code != 0 {
			t.Errorf("status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		if dirs := s.scratch(t); len(dirs) > 0 {
			t.Errorf("%v are still there", dirs)
		}
		if _, err := os.Lstat(s.store()); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("a store was made: %v", err)
		}
		s.checkNoLeftovers(t)
	})
}
