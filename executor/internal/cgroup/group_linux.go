package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/step"
)

// Group is a step's control groups: one of version 2, or one in each hierarchy of version 1 that has a limit.
type Group struct {
	limits step.Resources
	places []place
	// made are the groups above them that weren't there before, the upper ones first.
	made []string
}

// place is a directory that is a control group.
type place struct {
	dir string
	v2  bool
}

// Maker makes groups for the steps of a process.
type Maker struct {
	// Proc is where proc is mounted.
	Proc string
	// Scope moves the caller into a group of its own that systemd has made in a slice, or in the usual one if that is
	// empty; nil: there is nobody to ask.
	Scope func(slice string) error
}

// Make makes the groups that the limits need. missing are those controllers for which there can't be any, with the
// reason in why; the limits that need them don't hold. name is the last part of the groups' paths.
func (m Maker) Make(r step.Resources, name string) (g *Group, missing []string, why error) {
	t, err := look(m.Proc)
	if err != nil {
		return nil, controllers(legacy(r)), err
	}
	g = &Group{limits: r}
	need := unified(r)
	if t.unified != nil && (len(need) == 0 || offers(*t.unified, need)) {
		why = m.makeUnified(g, *t.unified, need, name)
		if why == nil {
			return g, nil, nil
		}
		return nil, controllers(need), why
	}
	return makeLegacy(g, t, name)
}

// offers says that the hierarchy has a controller of those that are needed. Each belongs to one hierarchy of a machine.
func offers(h hierarchy, need []setting) bool {
	have := words(filepath.Join(h.mount, "cgroup.controllers"))
	return slices.ContainsFunc(need, func(s setting) bool { return slices.Contains(have, s.controller) })
}

// makeLegacy makes a group in each hierarchy of version 1 that has a limit.
func makeLegacy(g *Group, t trees, name string) (_ *Group, missing []string, why error) {
	byController := map[string][]setting{}
	for _, s := range legacy(g.limits) {
		byController[s.controller] = append(byController[s.controller], s)
	}
	names := controllers(legacy(g.limits))
	for name := range t.legacy { // a group that is asked for counts what the step takes
		if g.limits.Parent != "" && name != "cpuset" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for _, controller := range names {
		h, ok := t.legacy[controller]
		err := fmt.Errorf("no tree of control groups with %s is mounted writable here", controller)
		if ok {
			err = g.makeIn(h, name, byController[controller])
		}
		if err != nil {
			missing, why = append(missing, controller), errors.Join(why, err)
		}
	}
	if len(g.places) == 0 {
		return nil, missing, why
	}
	return g, missing, why
}

// controllers are those of the settings, each once.
func controllers(list []setting) (names []string) {
	for _, s := range list {
		if !slices.Contains(names, s.controller) {
			names = append(names, s.controller)
		}
	}
	return names
}

// makeIn makes the group in a hierarchy of version 1.
func (g *Group) makeIn(h hierarchy, name string, settings []setting) error {
	parent := h.dir(parentOf(g.limits.Parent, h.own))
	if err := g.makeParents(h, parent); err != nil {
		return err
	}
	dir := filepath.Join(parent, name)
	if err := makeDir(dir); err != nil {
		return err
	}
	g.places = append(g.places, place{dir: dir})
	var err error
	// nothing can join a group that has no processors or no memory
	if len(settings) > 0 && settings[0].controller == "cpuset" {
		err = errors.Join(inherit(dir, "cpuset.cpus"), inherit(dir, "cpuset.mems"))
	}
	if err = errors.Join(err, apply(dir, settings)); err != nil {
		g.places = g.places[:len(g.places)-1]
		return errors.Join(err, os.Remove(dir))
	}
	return nil
}

// makeParents makes the groups on the way to one, without giving them controllers.
func (g *Group) makeParents(h hierarchy, parent string) error {
	rest, ok := strings.CutPrefix(parent, h.mount)
	if !ok {
		return fmt.Errorf("control group %s: it isn't below %s", parent, h.mount)
	}
	dir := h.mount
	for part := range strings.SplitSeq(strings.Trim(rest, "/"), "/") {
		dir = filepath.Join(dir, part)
		if err := g.makeParent(dir); err != nil {
			return err
		}
	}
	return nil
}

// makeParent makes a group above the step's unless it is there.
func (g *Group) makeParent(dir string) error {
	err := os.Mkdir(dir, 0o755)
	if os.IsExist(err) {
		return nil
	}
	if err == nil {
		g.made = append(g.made, dir)
	}
	return err
}

// inherit gives the group what the one above has.
func inherit(dir, file string) error {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
	if err != nil {
		return err
	}
	if len(strings.TrimSpace(string(text))) == 0 {
		if err := inherit(filepath.Dir(dir), file); err != nil {
			return err
		}
		return inherit(dir, file)
	}
	return write(dir, file, strings.TrimSpace(string(text)))
}

// parentOf gives the path of the group below which a step's is made: own, if none is asked for.
func parentOf(asked, own string) string {
	switch {
	case asked == "":
		return own
	case IsSlice(asked):
		return slicePath(asked)
	case filepath.IsAbs(asked):
		return asked
	}
	return filepath.Join(own, asked)
}

// IsSlice says that a parent is named as systemd does.
func IsSlice(parent string) bool {
	return strings.HasSuffix(parent, ".slice") && !strings.Contains(parent, "/")
}

// slicePath is where the slice a-b.slice is: a.slice/a-b.slice.
func slicePath(slice string) string {
	path, name := "/", strings.TrimSuffix(slice, ".slice")
	for i := range len(name) {
		if name[i] == '-' && i > 0 {
			path = filepath.Join(path, name[:i]+".slice")
		}
	}
	return filepath.Join(path, slice)
}

// makeDir makes the directory of a group, and removes those that killed processes have left beside it.
func makeDir(dir string) error {
	removeLeft(filepath.Dir(dir))
	return os.Mkdir(dir, 0o755)
}

// leftAfter is the age at which an empty group of a process that is gone counts as left behind.
const leftAfter = time.Minute

// removeLeft removes the groups of processes that were killed.
func removeLeft(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, ok := pidOfName(e.Name())
		info, err := e.Info()
		if !ok || !e.IsDir() || err != nil || time.Since(info.ModTime()) < leftAfter {
			continue
		}
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			_ = os.Remove(filepath.Join(parent, e.Name())) // it isn't empty if the process is one of another namespace
		}
	}
}

const namePrefix = "cooper-"

// NameOf is the name of group number n of this process.
func NameOf(n uint64) string { return fmt.Sprintf("%s%d-%d", namePrefix, os.Getpid(), n) }

// pidOfName is the process that has made a group.
func pidOfName(name string) (pid int, ok bool) {
	rest, ok := strings.CutPrefix(name, namePrefix)
	text, _, also := strings.Cut(rest, "-")
	pid, err := strconv.Atoi(text)
	return pid, ok && also && err == nil
}

// apply writes the settings.
func apply(dir string, settings []setting) error {
	for _, s := range settings {
		err := write(dir, s.file, s.text)
		if err != nil && !(s.extra && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP))) {
			return fmt.Errorf("set %s to %s: %w", s.file, s.text, err)
		}
	}
	return nil
}

func write(dir, file, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// Add moves a process into the groups. The processes that it starts from then on are in them, too.
func (g *Group) Add(pid int) error {
	for _, p := range g.places {
		if err := write(p.dir, "cgroup.procs", strconv.Itoa(pid)); err != nil {
			return fmt.Errorf("put the step into its control group: %w", err)
		}
	}
	return nil
}

// IsUnified says that the group is one of version 2, which shows a step in it all of its limits.
func (g *Group) IsUnified() bool { return len(g.places) == 1 && g.places[0].v2 }

// removal is how long the kernel may take to let go of a group whose processes have ended.
const removal = time.Second

// Remove removes the groups. Their processes must have ended.
func (g *Group) Remove() error {
	var errs []error
	for _, p := range g.places {
		errs = append(errs, remove(p.dir))
	}
	for _, dir := range slices.Backward(g.made) {
		_ = unix.Rmdir(dir) // other steps may be in it by now
	}
	return errors.Join(errs...)
}

// remove waits for the last process of a group to be gone: a namespace's processes end before its first is reaped, but
// the kernel counts them a little longer.
func remove(dir string) error {
	var err error
	for end := time.Now().Add(removal); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if err = unix.Rmdir(dir); !errors.Is(err, unix.EBUSY) {
			break
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove control group %s: %w", dir, err)
	}
	return nil
}

// words are those of a small file; none if it can't be read.
func words(path string) []string {
	text, _ := os.ReadFile(path)
	return strings.Fields(string(text))
}
