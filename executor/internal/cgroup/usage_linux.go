package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cooperbuild/cooper/executor/step"
)

// Usage adds what the group's processes have taken to what is known otherwise, where the group counts it.
func (g *Group) Usage(u *step.Usage) {
	for _, p := range g.places {
		if !p.v2 {
			if n, ok := number(p.dir, "memory.max_usage_in_bytes"); ok {
				u.Memory = n
			}
			continue
		}
		if n, ok := number(p.dir, "memory.peak"); ok { // since Linux 5.19
			u.Memory = n
		}
		if n, ok := entry(p.dir, "cpu.stat", "usage_usec"); ok {
			u.CPU = time.Duration(n) * time.Microsecond
		}
	}
}

// Limited says which limit the group's processes have met, if they have met one.
func (g *Group) Limited() (step.Limited, bool) {
	for _, p := range g.places {
		memory := "memory.oom_control"
		if p.v2 {
			memory = "memory.events"
		}
		if n, _ := entry(p.dir, memory, "oom_kill"); n > 0 {
			return step.MemoryLimited, true
		}
	}
	for _, p := range g.places {
		if n, _ := entry(p.dir, "pids.events", "max"); n > 0 {
			return step.ProcessesLimited, true
		}
	}
	return "", false
}

// number reads a file that has one number.
func number(dir, file string) (int64, bool) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// entry reads the number behind a word in a file that has a word and a number in each line.
func entry(dir, file, word string) (int64, bool) {
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && name == word {
			n, err := strconv.ParseInt(value, 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
