package tests_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// commandsWith are the processes with this text in their command line.
func commandsWith(text string) []string {
	var found []string
	eachProcess(func(pid int, _ string) {
		if line := commandLine(pid); strings.Contains(line, text) {
			found = append(found, fmt.Sprintf("%d %s", pid, line))
		}
	})
	return found
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

// waitForLeftovers gives what still lives after a while: a killed process takes a moment to go, and more on a busy
// machine.
func (s *site) waitForLeftovers(commands []string) []error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if errs := s.livingLeftovers(commands); len(errs) == 0 || time.Now().After(deadline) {
			return errs
		}
	}
}

func (s *site) livingLeftovers(commands []string) []error {
	var errs []error
	for _, m := range s.mounts() {
		errs = append(errs, fmt.Errorf("left mounted: %s", m))
	}
	for _, pid := range s.processes() {
		if line := commandLine(pid); strings.Contains(line, suite.cooper) || strings.Contains(line, "fuse-overlayfs") {
			errs = append(errs, fmt.Errorf("left running: %d %s", pid, line))
		}
	}
	for _, text := range commands {
		for _, line := range commandsWith(text) {
			errs = append(errs, fmt.Errorf("left running: %s", line))
		}
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
