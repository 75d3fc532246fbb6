package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/cgroup"
	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/scope"
	"github.com/cooperbuild/cooper/executor/internal/tree"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/internal/headroom"
	"github.com/cooperbuild/cooper/userns"
)

// limiter keeps a step within its limits: by control groups where they can be made, and by other means elsewhere.
type limiter struct {
	group *cgroup.Group // nil: there is none
	// memory and processes are what the step is watched for, since no group limits it; 0: not at all.
	memory, processes int64

	peak   int64        // the most memory that the watch saw
	hit    step.Limited // the limit that the watch saw the step meet
	done   chan struct{}
	exited chan struct{}
}

// limit makes what keeps the container's step within its limits, and says in the container what its first process must
// do for that. The caller calls remove when the step has ended.
func limit(ctx context.Context, c *container.Container) (*limiter, error) {
	r := c.Step.Resources
	l := &limiter{}
	var missing []string
	if r.Any() {
		var err error
		if missing, err = l.makeGroup(ctx, r, c.Step.Groups); err != nil {
			return nil, err
		}
	}
	if l.group != nil {
		c.Bounds.Group, c.Bounds.Shown = true, l.group.IsUnified()
	}
	if slices.Contains(missing, "memory") {
		l.memory = r.Memory
	}
	if slices.Contains(missing, "pids") {
		l.processes = r.Processes
	}
	if err := boundProcessors(c, missing); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	if r.Processes == 0 || l.processes > 0 {
		boundProcesses(c)
	}
	return l, nil
}

// makeGroup makes the step's control groups. missing are the controllers that no group has.
func (l *limiter) makeGroup(ctx context.Context, r step.Resources, shared *step.Groups) (missing []string, err error) {
	if shared == nil {
		shared = &step.Groups{}
	}
	here, err := userns.ThisProcess()
	isRoot := err == nil && here.Root && here.Initial
	m := cgroup.Maker{Proc: "/proc"}
	if at := scope.Address(os.Getenv); at != "" && !isRoot {
		m.Scope = func(slice string) error { return scope.Enter(ctx, at, slice) }
	}
	var why error
	shared.Make(func(number uint64) { l.group, missing, why = m.Make(r, cgroup.NameOf(number)) })
	switch {
	case why != nil && r.Parent != "":
		return nil, errors.Join(&step.SetupError{Doing: "make a control group below " + r.Parent, Err: why}, l.remove())
	case why != nil:
		shared.Once(instead(missing, why))
	}
	return missing, nil
}

// instead says what becomes of the limits for which no control group could be made.
func instead(missing []string, why error) string {
	kept := map[string]string{
		"memory": "memory is looked at 50 times a second",
		"pids":   "processes are counted for each user ID",
		"cpu":    "a quota of processor time is rounded up to whole processors, and shares have no effect",
		"cpuset": "processors are bound by affinity, and memory nodes aren't",
		"io":     "limits of disks have no effect", "blkio": "limits of disks have no effect",
	}
	clauses := make([]string, len(missing))
	for i, name := range missing {
		clauses[i] = kept[name]
	}
	reason, _, _ := strings.Cut(why.Error(), "\n")
	return fmt.Sprintf("no control group can be made for the limits of steps (%s): %s", reason,
		strings.Join(clauses, "; "))
}

// boundProcesses limits the number of processes by what holds without a control group: the limit of the step's user,
// and of its pid namespace, which Linux has since 6.14.
func boundProcesses(c *container.Container) {
	n := c.Step.Resources.Processes
	if n < 0 {
		return
	}
	if n == 0 {
		n = headroom.Half("/proc")
	}
	if n == 0 || hasLimit(c.Step.Limits, "nproc") {
		return
	}
	c.Bounds.PIDs = n
	own := int64(0)
	if c.Step.Resources.Processes > 0 && c.IDs.Own() == nil { // the caller's processes count, too
		own = tree.Look(os.Getpid()).Processes
	}
	var hard unix.Rlimit
	value := uint64(n + own)
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &hard); err == nil {
		value = min(value, hard.Max)
	}
	c.Step.Limits = append(slices.Clip(c.Step.Limits), step.Limit{Name: "nproc", Soft: value, Hard: value})
}

func hasLimit(limits []step.Limit, name string) bool {
	return slices.ContainsFunc(limits, func(l step.Limit) bool { return l.Name == name })
}

// boundProcessors binds the step to processors, if a limit needs that because there is no group.
func boundProcessors(c *container.Container, missing []string) error {
	r := c.Step.Resources
	var usable unix.CPUSet
	bound := slices.Contains(missing, "cpuset") && r.CPUs != ""
	quota := slices.Contains(missing, "cpu") && r.CPUQuota > 0
	if !bound && !quota {
		return nil
	}
	if err := unix.SchedGetaffinity(0, &usable); err != nil {
		return err
	}
	if bound {
		asked, err := step.ParseCPUs(r.CPUs)
		if err != nil {
			return err
		}
		for n := range len(usable) * 64 {
			if usable.IsSet(n) && !slices.Contains(asked, n) {
				usable.Clear(n)
			}
		}
		if usable.Count() == 0 {
			return &step.SetupError{Doing: "use the processors " + r.CPUs, Err: unix.EINVAL}
		}
	}
	if quota {
		keep(&usable, int((r.CPUQuota+r.Period()-1)/r.Period()))
	}
	c.Bounds.Processors = &usable
	return nil
}

// keep leaves the last n processors in a set: the first ones do more for the machine.
func keep(set *unix.CPUSet, n int) {
	for i := range len(set) * 64 {
		if set.Count() <= n {
			return
		}
		set.Clear(i)
	}
}

// begin puts the step's first process under the limits. It must not have begun its own work yet.
func (l *limiter) begin(pid int) error {
	if l.group != nil {
		if err := l.group.Add(pid); err != nil {
			return err
		}
	}
	return nil
}

// glance is the time between two looks at a step that is watched.
const glance = 20 * time.Millisecond

// watch looks at the step's processes until end is called, and kills them when they have met a limit.
func (l *limiter) watch(pid int, kill func()) {
	if l.memory == 0 && l.processes == 0 {
		return
	}
	l.done, l.exited = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(l.exited)
		// A step that isn't looked at any more is none that may go on.
		if err := guard.Call(func() error { return l.glances(pid, kill) }); err != nil {
			kill()
		}
	}()
}

// glances looks at the step again and again, until end is called or the step must be killed.
func (l *limiter) glances(pid int, kill func()) error {
	ticks := time.NewTicker(glance)
	defer ticks.Stop()
	for {
		select {
		case <-l.done:
			return nil
		case <-ticks.C:
		}
		if l.look(pid) {
			kill()
			return nil
		}
	}
}

// look looks at the step's processes once, and says whether they must be killed. Too many processes needn't: no more
// can be started.
func (l *limiter) look(pid int) (kill bool) {
	t := tree.Look(pid)
	if l.processes > 0 && t.Processes >= l.processes {
		l.hit = step.ProcessesLimited
	}
	if l.memory == 0 {
		return false
	}
	used := t.Memory
	if used > l.memory {
		used = t.Exact()
	}
	l.peak = max(l.peak, used)
	if used > l.memory {
		l.hit = step.MemoryLimited
	}
	return used > l.memory
}

// end ends the watch.
func (l *limiter) end() {
	if l.done != nil {
		close(l.done)
		<-l.exited
	}
}

// report adds to the status what the step took and which limit it met.
func (l *limiter) report(s *step.Status) {
	if l.peak > 0 {
		s.Usage.Memory = l.peak
	}
	s.Limited = l.hit
	if l.group == nil {
		return
	}
	l.group.Usage(&s.Usage)
	if hit, ok := l.group.Limited(); ok {
		s.Limited = hit
	}
}

// remove removes the step's control groups.
func (l *limiter) remove() error {
	if l.group == nil {
		return nil
	}
	return l.group.Remove()
}
