package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/container"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/internal/script"
	"github.com/cooperbuild/cooper/executor/internal/streams"
	"github.com/cooperbuild/cooper/executor/internal/tree"
	"github.com/cooperbuild/cooper/executor/step"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Run runs the step and waits for its end. Status is valid only if the error is nil: a command that ran and exited with
// another status than 0 is no error. A *StartError means that the program wasn't executed, a *SetupError that the
// container couldn't be made. When ctx ends the step is asked to end (SIGTERM to its first process group), then killed,
// and the error wraps context.Cause(ctx). ErrStillWritten means that the command has succeeded, but another process
// goes on writing to a file that it has sent it.
func Run(ctx context.Context, s step.Step) (step.Status, error) { return runOn(ctx, s, newBackEnd) }

// runOn does what Run does, with the back end that choose gives.
func runOn(ctx context.Context, s step.Step, choose func(*container.Container) (backEnd, error)) (step.Status, error) {
	if ctx.Err() != nil {
		return step.Status{}, context.Cause(ctx)
	}
	c, err := container.New(s)
	if err != nil {
		return step.Status{}, err
	}
	r := &runner{c: c}
	if r.limits, err = limit(ctx, c); err != nil {
		return step.Status{}, errors.Join(err, c.Close())
	}
	var status step.Status
	if err = r.prepare(choose); err == nil {
		status, err = r.run(ctx)
		c.Root.Ran = err == nil && status.ExitCode == 0
	}
	err = errors.Join(err, c.Close(), r.limits.remove())
	r.watched.Wait()
	if err != nil {
		return step.Status{}, err
	}
	return status, nil
}

// runner runs the step of a container on a back end.
type runner struct {
	c       *container.Container
	backEnd backEnd
	limits  *limiter
	// watched has the goroutine that reaps the step's watcher. The container is closed meanwhile, which takes longer.
	watched sync.WaitGroup
}

// prepare has the back end that choose gives make everything that can be made without the step's namespaces.
func (r *runner) prepare(choose func(*container.Container) (backEnd, error)) (err error) {
	if r.backEnd, err = choose(r.c); err != nil {
		return err
	}
	if err := r.c.EnterMapping(); err != nil {
		return err
	}
	return r.backEnd.Prepare()
}

// process is a running step.
type process struct {
	script.Launch
	child   *rawproc.Child // the step's first process
	watcher *rawproc.Child // the process that kills the step if this one dies
	start   time.Time      // just before child was started
}

// run starts the step on the back end and waits for its end. The output has been written when run returns.
func (r *runner) run(ctx context.Context) (step.Status, error) {
	// The step is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	c := r.c
	out, err := openStreams(c)
	if err != nil {
		return step.Status{}, err
	}
	p, err := r.start(out)
	out.CloseChild()
	if err != nil {
		return step.Status{}, errors.Join(err, out.Finish())
	}
	if c.Step.Started != nil {
		c.Step.Started(p.child.Pid)
	}
	r.limits.watch(p.child.Pid, p.child.Kill)
	status, err := p.wait(ctx, r.c.Step.Stop, r.limits.end)
	r.limits.report(&status)
	r.watched.Go(func() { _, _, _ = p.watcher.Reap() }) // it ends when it sees that the step has ended
	if err == nil {
		err = r.backEnd.Failure()
	}
	return status, errors.Join(err, out.Finish())
}

// openStreams opens the step's standard streams.
func openStreams(c *container.Container) (*streams.Streams, error) {
	owner, err := c.IDs.InMemory(c.User.UID, c.User.GID)
	if err != nil {
		return nil, err
	}
	if c.Step.Terminal != nil {
		return streams.OpenTerminal(c.Kernel.Pts, int(owner.UID), c.Step.Terminal)
	}
	return streams.Open(streams.Options{
		Null: c.Null, Stdin: c.Step.Stdin, Stdout: c.Step.Stdout, Stderr: c.Step.Stderr,
		UID: int(owner.UID), GID: int(owner.GID),
	})
}

// start starts the step's first process and the watcher, and lets the step begin.
func (r *runner) start(out *streams.Streams) (*process, error) {
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
	h := script.Handles{Begin: begin, Self: self}
	for i, f := range out.Child {
		h.Stdio[i] = int(f.Fd())
	}
	p := &process{Launch: r.backEnd.Launch(h), start: time.Now()}
	if p.child, err = p.Script.Start(p.Namespaces); err != nil {
		return nil, fmt.Errorf("start step: %w", err)
	}
	if r.c.Step.Rootfs.Dir != nil && p.AttachesRoot {
		r.c.Root.MountNS, _ = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", p.child.Pid)) // without CAP_SYS_PTRACE real root can't
	}
	if p.watcher, err = startWatcher(self, int(p.child.Pidfd.Fd())); err != nil {
		p.child.Kill()
		_, _, _ = p.child.Reap()
		return nil, err
	}

	if err := r.limits.begin(p.child.Pid); err != nil {
		return nil, errors.Join(err, p.giveUp())
	}
	if err := p.begin(begin); err != nil {
		return nil, err
	}
	return p, nil
}

// begin writes to the eventfd event, for which the child waits before it goes on. After an error the child and
// the watcher have ended and are reaped.
func (p *process) begin(event int) error {
	err := fsys.WriteAll(event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("begin step: %w", err), p.giveUp())
}

// giveUp ends a step that hasn't begun, and its watcher.
func (p *process) giveUp() error {
	p.child.Kill()
	_, _, err := p.child.Reap()
	_, _, _ = p.watcher.Reap()
	return err
}

// wait waits for the step's end, and ends it when ctx does. ended is called when the step has ended, while its process
// ID is still its own.
func (p *process) wait(ctx context.Context, how step.Stop, ended func()) (step.Status, error) {
	stopped, obeyed := make(chan struct{}), false
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		obeyed = p.terminate(context.Cause(ctx), how)
	})
	err := p.child.WaitEnd()
	interrupted := !stop()
	if interrupted {
		<-stopped // terminate uses the process ID until then
	}
	duration := time.Since(p.start)
	ended()
	read, wrote := tree.Moved("/proc", p.child.Pid)
	ws, usage, reapErr := p.child.Reap()
	var failure *rawproc.Failure
	switch {
	case interrupted && !(obeyed && how.Signal != nil):
		return step.Status{}, fmt.Errorf("step interrupted: %w", context.Cause(ctx))
	case errors.As(reapErr, &failure):
		return step.Status{}, p.Script.Explain(failure)
	case err != nil || reapErr != nil:
		return step.Status{}, errors.Join(err, reapErr)
	}
	s := newStatus(ws, usage, duration)
	s.Usage.Read, s.Usage.Wrote = read, wrote
	return s, nil
}

func newStatus(ws unix.WaitStatus, usage unix.Rusage, duration time.Duration) step.Status {
	s := step.Status{ExitCode: ws.ExitStatus(), Duration: duration}
	s.User, s.System = rawproc.Usage(usage)
	s.Usage = step.Usage{Memory: usage.Maxrss << 10, CPU: s.User + s.System}
	if ws.Signaled() {
		s.Signal = ws.Signal()
		s.ExitCode = 128 + int(s.Signal)
	}
	return s
}
