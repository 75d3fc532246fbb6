package runstep

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
)

// Resources are limits of what all processes of a step take together.
type Resources = executor.Resources

// IORate is a limit of what a step moves from or to a disk.
type IORate = executor.IORate

// TimeoutError says that a step took longer than it may.
type TimeoutError struct{ Limit time.Duration }

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("the step took longer than --step-timeout %s", e.Limit)
}

// within gives a context that ends when a step has taken as long as it may. The error of a step that ended for that
// reason is made by overdue.
func (o Options) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if o.StepTimeout <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, o.StepTimeout, &TimeoutError{o.StepTimeout})
}

// reason says which limit a step has met, in words for an error; "" for none.
func (o Options) reason(met executor.Limited) string {
	switch r := o.Resources; {
	case met == executor.MemoryLimited && r.Memory > 0:
		return "the step used more than --memory " + sizeText(r.Memory)
	case met == executor.MemoryLimited:
		return "the step used more memory than its control group may"
	case met == executor.ProcessesLimited && r.Processes > 0:
		return "the step has started as many processes as --pids-limit " + strconv.FormatInt(r.Processes, 10) + " allows"
	case met == executor.ProcessesLimited:
		return "the step has started as many processes as it may"
	}
	return ""
}

// sizeText gives a number of bytes as a flag takes it.
func sizeText(n int64) string {
	for _, unit := range []struct {
		shift int
		name  string
	}{{30, "g"}, {20, "m"}, {10, "k"}} {
		if n != 0 && n%(1<<unit.shift) == 0 {
			return strconv.FormatInt(n>>unit.shift, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// tell says what a step took.
func (r *Room) tell(id int, s executor.Status) {
	r.Inputs.Roots.Progress.Emit(progress.StepUsed{ID: id, Memory: s.Usage.Memory, CPU: s.Usage.CPU, Read: s.Usage.Read,
		Wrote: s.Usage.Wrote})
}
