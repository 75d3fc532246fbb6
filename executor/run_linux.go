package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Run runs the step and waits for its end. Status is valid only if the error is nil: a command that ran and exited with
// another status than 0 is no error. A *StartError means that the program wasn't executed, a *SetupError that the
// container couldn't be made. When ctx ends the step is asked to end (SIGTERM to its first process group), then killed,
// and the error wraps context.Cause(ctx). ErrStillWritten means that the command has succeeded, but another process
// goes on writing to a file that it has sent it.
func Run(ctx context.Context, s Step) (Status, error) { return runOn(ctx, s, newBackEnd) }

// runOn does what Run does, with the back end that choose gives.
func runOn(ctx context.Context, s Step, choose func(*container) (backEnd, error)) (Status, error) {
	if ctx.Err() != nil {
		return Status{}, context.Cause(ctx)
	}
	c := &container{step: s}
	err := c.prepare(choose)
	var status Status
	if err == nil {
		status, err = c.run(ctx)
		c.root.ran = err == nil && status.ExitCode == 0
	}
	if err := errors.Join(err, c.close()); err != nil {
		return Status{}, err
	}
	return status, nil
}

// process is a running step.
type process struct {
	launch
	child   *rawproc.Child
	watcher *rawproc.Child
	start   time.Time
}

func (c *container) run(ctx context.Context) (Status, error) {
	// The step is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	out, err := openStreams(c.null, c.step.Stdout, c.step.Stderr, c.host(c.user.UID, c.user.GID))
	if err != nil {
		return Status{}, err
	}
	p, err := c.start(out) //nolint:contextcheck // start waits for a child only after it has killed it
	out.closeChild()
	if err != nil {
		return Status{}, errors.Join(err, out.finish())
	}
	if c.step.Started != nil {
		c.step.Started(p.child.Pid)
	}
	status, err := p.wait(ctx)
	if err == nil {
		err = c.backEnd.failure()
	}
	return status, errors.Join(err, out.finish())
}

// start starts the step and what watches it.
func (c *container) start(out *streams) (*process, error) {
	self, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return nil, fmt.Errorf("open own process: %w", err)
	}
	defer unix.Close(self)
	begin, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make event: %w", err)
	}
	defer unix.Close(begin)

	h := handles{begin: begin, self: self}
	for i, f := range out.child {
		h.stdio[i] = int(f.Fd())
	}

	p := &process{launch: c.backEnd.launch(h), start: time.Now()}
	if p.child, err = p.script.Start(p.namespaces); err != nil {
		return nil, fmt.Errorf("start step: %w", err)
	}
	if c.step.Rootfs.Dir != nil && p.attachesRoot {
		c.root.mountNS, _ = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", p.child.Pid)) // real root without CAP_SYS_PTRACE can't
	}
	if p.watcher, err = startWatcher(self, int(p.child.Pidfd.Fd())); err != nil {
		p.child.Kill()
		_, _, _ = p.child.Reap()
		return nil, err
	}

	if err := p.begin(begin); err != nil {
		return nil, err
	}
	return p, nil
}

// begin writes to the eventfd event, for which the child waits, so that it goes on. After an error the child was
// killed.
func (p *process) begin(event int) error {
	err := fsys.WriteAll(event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if err == nil {
		return nil
	}
	p.child.Kill()
	_, endErr := p.wait(context.Background())
	return errors.Join(fmt.Errorf("begin step: %w", err), endErr)
}

// wait waits for the step's end, and ends it when ctx does.
func (p *process) wait(ctx context.Context) (Status, error) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		p.terminate()
	})
	err := p.child.WaitEnd()
	interrupted := !stop()
	if interrupted {
		<-ended // terminate uses the process ID until then
	}
	duration := time.Since(p.start)
	ws, usage, reapErr := p.child.Reap()
	go func() { _, _, _ = p.watcher.Reap() }() // the watcher ends when it sees that the step has ended
	var failure *rawproc.Failure
	switch {
	case interrupted:
		return Status{}, fmt.Errorf("step interrupted: %w", context.Cause(ctx))
	case errors.As(reapErr, &failure):
		return Status{}, p.script.explain(failure)
	case err != nil || reapErr != nil:
		return Status{}, errors.Join(err, reapErr)
	}
	return newStatus(ws, usage, duration), nil
}

func newStatus(ws unix.WaitStatus, usage unix.Rusage, duration time.Duration) Status {
	s := Status{ExitCode: ws.ExitStatus(), Duration: duration, MaxRSS: usage.Maxrss << 10}
	s.User, s.System = rawproc.Usage(usage)
	if ws.Signaled() {
		s.Signal = ws.Signal()
		s.ExitCode = 128 + int(s.Signal)
	}
	return s
}
