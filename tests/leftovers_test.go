package tests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mounts are the mounts below the site's directory, in the order they were made.
func (s *site) mounts() []string {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var all []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(fields[4], s.dir+"/") {
			all = append(all, fields[4])
		}
	}
	return all
}

// processes are those that were started in the site and still live, but for podman's, which outlives its command.
func (s *site) processes() []int {
	var pids []int
	eachProcess(func(pid int, dir string) {
		env, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err == nil && bytes.Contains(env, []byte(siteMark+"="+s.dir+"\x00")) {
			pids = append(pids, pid)
		}
	})
	return pids
}

func eachProcess(visit func(pid int, dir string)) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			visit(pid, filepath.Join("/proc", e.Name()))
		}
	}
}

func commandLine(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
}

// patience is how long something that must happen is waited for. It is long enough for a machine with far too much to
// do, and shorter than the time after which go test ends all tests.
const patience = 10 * time.Minute

// eventually waits until something is so; what says what is waited for, if the patience ends.
func eventually(t *testing.T, what func() string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("after %s: %s", patience, what())
		}
	}
}

// noLeftovers fails unless all that cooper started and made for a build is gone. commands are texts that only command
// lines of the build's steps have.
func (s *site) noLeftovers(commands ...string) error {
	errs := s.waitForLeftovers(commands)
	for _, name := range []string{"overlay/staging", "cooper/tmp"} {
		entries, err := os.ReadDir(filepath.Join(s.store(), name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		for _, e := range entries {
			errs = append(errs, fmt.Errorf("left in the store: %s/%s", name, e.Name()))
		}
	}
	return errors.Join(errs...)
}

// leftProcesses are cooper's that were started in the site and still live, and those with one of the texts in their
// command lines.
func (s *site) leftProcesses(commands []string) processes {
	left := processesThat(func(pid int) bool {
		line := commandLine(pid)
		return slices.ContainsFunc(commands, func(text string) bool { return strings.Contains(line, text) })
	})
	for _, pid := range s.processes() {
		if line := commandLine(pid); strings.Contains(line, suite.cooper) || strings.Contains(line, "fuse-overlayfs") {
			left.add(pid)
		}
	}
	return left
}

// waitForLeftovers gives what still lives after a while: a killed process takes a moment to go, and more on a busy
// machine. Processes are those of the first look: other tests may start some with the same texts meanwhile.
func (s *site) waitForLeftovers(commands []string) []error {
	left := s.leftProcesses(commands)
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		left.dropEnded()
		mounts := s.mounts()
		if len(mounts)+len(left) == 0 {
			return nil
		}
		if time.Now().Before(end) {
			continue
		}
		errs := left.errors()
		for _, m := range mounts {
			errs = append(errs, fmt.Errorf("left mounted: %s", m))
		}
		return errs
	}
}

// processes are some that were seen, by their IDs.
type processes map[int]procStat

// processesThat finds those of which something is true.
func processesThat(are func(pid int) bool) processes {
	found := processes{}
	eachProcess(func(pid int, _ string) {
		if are(pid) {
			found.add(pid)
		}
	})
	return found
}

func (p processes) add(pid int) {
	if stat := statOf(pid); !stat.ended() {
		p[pid] = stat
	}
}

// dropEnded takes those out that are no more, whoever has their ID now.
func (p processes) dropEnded() {
	for pid, was := range p {
		if is := statOf(pid); is.ended() || is.started != was.started {
			delete(p, pid)
		}
	}
}

func (p processes) errors() []error {
	var errs []error
	for pid, stat := range p {
		errs = append(errs, fmt.Errorf("left running: %d (%s) %s", pid, stat.comm, commandLine(pid)))
	}
	return errs
}

func (s *site) checkNoLeftovers(t *testing.T, commands ...string) {
	t.Helper()
	if err := s.noLeftovers(commands...); err != nil {
		t.Error(err)
	}
}

// layers are the IDs of all layers in the site's store, whether an image has them or not.
func (s *site) layers(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(s.store() + "/*-layers/*layers.json")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, name := range files {
		var records []struct{ ID string }
		if err := json.Unmarshal([]byte(readFile(t, name)), &records); err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
