package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Taken is what processes take at one moment.
type Taken struct {
	Processes int64 // with their threads
	// Memory holds bytes that are the processes' own: what is mapped from files is left out, since the kernel can take it
	// back. What several of them share counts for each.
	Memory int64
	pids   []int
}

// Look looks at the process pid and all below it. Processes whose parent has ended are below the first one of their pid
// namespace. What ends meanwhile is left out.
func Look(pid int) Taken {
	var t Taken
	t.add(pid)
	return t
}

func (t *Taken) add(pid int) {
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return
	}
	t.pids = append(t.pids, pid)
	t.Processes += int64(len(threads))
	t.Memory += own(pid)
	for _, thread := range threads {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, thread.Name()))
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				t.add(child)
			}
		}
	}
}

// own gives the bytes that a process has in memory and that come from no file of a disk.
func own(pid int) int64 { return sum(fmt.Sprintf("/proc/%d/status", pid), "RssAnon", "RssShmem") }

// sum adds the kilobytes that a file of a process has behind two names, and gives bytes.
func sum(path string, one, other string) (bytes int64) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		if name != one && name != other {
			continue
		}
		number, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		if kilobytes, err := strconv.ParseInt(number, 10, 64); err == nil {
			bytes += kilobytes << 10
		}
	}
	return bytes
}

// Exact gives the bytes of memory with what several processes share counted once. It takes far longer than Look, for
// the kernel looks at each page.
func (t Taken) Exact() (bytes int64) {
	for _, pid := range t.pids {
		path := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
		if _, err := os.Stat(path); err != nil {
			continue
		}
		bytes += sum(path, "Pss_Anon", "Pss_Shmem")
	}
	return bytes
}

// Moved gives the bytes that a process, which may have ended but is not reaped, and those that it has reaped have read
// from and written to disks.
// proc is where proc is mounted.
func Moved(proc string, pid int) (read, wrote int64) {
	text, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "io"))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		switch {
		case err != nil:
		case name == "read_bytes":
			read = n
		case name == "write_bytes":
			wrote = n
		}
	}
	return read, wrote
}
