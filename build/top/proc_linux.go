package top

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	// maxArgs bounds what is read of a file of proc, such as a command line, and maxNames of a passwd or group file, in
	// bytes.
	maxArgs  = 64 << 10
	maxNames = 1 << 20
)

// Names are the users and groups that a step's image knows, by ID.
type Names struct{ Users, Groups map[uint32]string }

// Found is the processes of some steps, with the names that each step knows.
type Found struct {
	Processes []Process
	Names     map[*Step]Names
	// Hidden is how many steps run whose processes the caller may not see, as from a user namespace beside theirs.
	Hidden int
}

// Processes finds the processes of steps in the proc that is mounted on /proc. A step whose processes the caller may
// not see, or that has just ended, has none.
func Processes(steps []Step) (Found, error) {
	const proc = "/proc"
	found := Found{Names: map[*Step]Names{}}
	if len(steps) == 0 {
		return found, nil
	}
	own, err := os.Readlink(proc + "/self/ns/pid")
	if err != nil {
		return found, fmt.Errorf("look at processes: %w", err)
	}
	spaces := pidSpaces{steps: map[string]*Step{}, above: map[string]string{}}
	for i := range steps {
		ns, err := os.Readlink(fmt.Sprintf("%s/%d/ns/pid", proc, steps[i].PID))
		switch {
		case errors.Is(err, os.ErrPermission):
			found.Hidden++
		case err == nil && ns != own: // else that process has ended, and another has its number
			spaces.steps[ns] = &steps[i]
		}
	}
	entries, err := os.ReadDir(proc)
	if err != nil {
		return found, fmt.Errorf("look at processes: %w", err)
	}
	boot, err := bootTime()
	if err != nil {
		return found, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		dir := filepath.Join(proc, e.Name())
		step := spaces.stepOf(dir + "/ns/pid")
		if step == nil {
			continue
		}
		if p, ok := readProcess(dir, boot); ok {
			p.Step, p.Host = step, pid
			found.Processes = append(found.Processes, p)
			if _, known := found.Names[step]; !known {
				found.Names[step] = namesOf(dir + "/root")
			}
		}
	}
	found.order()
	return found, nil
}

// pidSpaces says whose processes are in a pid namespace, by what /proc/PID/ns/pid links to.
type pidSpaces struct {
	steps map[string]*Step  // by the namespace of Step.PID
	above map[string]string // the namespace above another; "" if it can't be seen
}

// stepOf gives the step that has the processes of the namespace at a path of proc; nil: none.
func (s pidSpaces) stepOf(path string) *Step {
	ns, err := os.Readlink(path)
	if err != nil {
		return nil
	}
	if step := s.steps[ns]; step != nil {
		if step.Below {
			return nil // the runtime
		}
		return step
	}
	above, known := s.above[ns]
	if !known {
		above = namespaceAbove(path)
		s.above[ns] = above
	}
	if step := s.steps[above]; step != nil && step.Below {
		return step
	}
	return nil
}

// namespaceAbove names the pid namespace above another, as its link does (ioctl_ns(2)); "" if the caller may not see
// it.
func namespaceAbove(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	above, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT)
	if err != nil {
		return ""
	}
	defer unix.Close(above)
	var st unix.Stat_t
	if unix.Fstat(above, &st) != nil {
		return ""
	}
	return fmt.Sprintf("pid:[%d]", st.Ino)
}

// bootTime is when the clock began by which processes' starts are given. What /proc/stat says of it is a whole second.
func bootTime() (time.Time, error) {
	var since unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &since); err != nil {
		return time.Time{}, fmt.Errorf("look at the clock: %w", err)
	}
	return time.Now().Add(-time.Duration(since.Nano())), nil
}

// order sorts processes by step and number, and finds their parents.
func (f *Found) order() {
	inside := map[int]int{}
	for _, p := range f.Processes {
		inside[p.Host] = p.PID
	}
	for i, p := range f.Processes {
		f.Processes[i].PPID = inside[p.parent]
	}
	slices.SortFunc(f.Processes, func(a, b Process) int {
		return cmp.Or(a.Step.Started.Compare(b.Step.Started), cmp.Compare(a.Step.PID, b.Step.PID), cmp.Compare(a.PID, b.PID))
	})
}

func readProcess(dir string, boot time.Time) (p Process, ok bool) {
	if p.parseStat(readSome(dir+"/stat"), boot) != nil {
		return p, false
	}
	p.parseStatus(readSome(dir + "/status"))
	p.Now = time.Now()
	if line := strings.TrimRight(readSome(dir+"/cmdline"), "\x00"); line != "" {
		p.Args = strings.Split(line, "\x00")
	}
	p.Label = strings.TrimRight(readSome(dir+"/attr/current"), "\x00\n")
	p.UIDMap, p.GIDMap = readSome(dir+"/uid_map"), readSome(dir+"/gid_map")
	return p, p.PID > 0
}

// readSome gives the beginning of a file; "" if it can't be read.
func readSome(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxArgs))
	if err != nil {
		return ""
	}
	return string(text)
}

// namesOf reads the passwd and group files below a root that is hostile: no symbolic link leads out of it, and nothing
// but a regular file is waited for.
func namesOf(root string) Names {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return Names{}
	}
	defer unix.Close(dir)
	read := func(name string) map[uint32]string {
		fd, err := fsys.OpenIn(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
		if err != nil {
			return nil
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
			return nil
		}
		text, err := io.ReadAll(io.LimitReader(f, maxNames))
		if err != nil {
			return nil
		}
		return parseNames(string(text))
	}
	return Names{Users: read("etc/passwd"), Groups: read("etc/group")}
}
