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

// Run runs the step and waits for its end. Status is valid only if the error is nil: a command that ran and exited with another
// status than 0 is no error. Errors of the step's own making are *StartError (nothing was executed) and *SetupError. When ctx ends
// the step is asked to end (SIGTERM to its first process group), then killed, and the error wraps context.Cause(ctx). When the command
// has succeeded, nobody goes on writing through what it had open, or the error is ErrStillWritten.
func Run(ctx context.Context, s Step) (Status, error) {
	if ctx.Err() != nil {
		return Status{}, context.Cause(ctx)
	}
	c := &container{step: s}
	err := c.prepare()
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
	child   *rawproc.Child
	watcher *rawproc.Child
	script  *script
	start   time.Time
}

func (c *container) run(ctx context.Context) (Status, error) {
	// The step is killed when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	null, err := c.openNull()
	if err != nil {
		return Status{}, err
	}
	defer null.Close()
	stdout, stderr := c.step.Stdout, c.step.Stderr
	if c.bundle != nil {
		stdout, stderr = notFiles(stdout, stderr)
	}
	out, err := openStreams(null, stdout, stderr, c.host(c.user.UID, c.user.GID))
	if err != nil {
		return Status{}, err
	}
	p, err := c.start(out)
	out.closeChild()
	if err != nil {
		return Status{}, errors.Join(err, out.finish())
	}
	if c.step.Started != nil {
		c.step.Started(p.child.Pid)
	}
	status, err := p.wait(ctx)
	if err == nil && c.bundle != nil {
		err = c.runtimeFailure(p.script)
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
	program, flags := c.childProgram(h)
	p := &process{script: program, start: time.Now()}
	if p.child, err = p.script.Start(flags); err != nil {
		return nil, fmt.Errorf("start step: %w", err)
	}
	if c.step.Rootfs.Dir != nil && c.bundle == nil {
		c.root.mountNS, _ = os.Open(fmt.Sprintf("/proc/%d/ns/mnt", p.child.Pid)) // without CAP_SYS_PTRACE real root can't
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

// begin lets the child go on from where it waits for the event. After an error there is no child any more.
func (p *process) begin(event int) error {
	err := fsys.WriteAll(event, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	if err == nil {
		return nil
	}
	p.child.Kill()
	_, endErr := p.wait(context.Background())
	return errors.Join(fmt.Errorf("begin step: %w", err), endErr)
}

// childProgram is what the child does, and the namespaces that it gets.
func (c *container) childProgram(h handles) (*script, uintptr) {
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP)
	if c.bundle != nil { // the other namespaces are the runtime's to make
		return c.runtimeProgram(h), flags
	}
	flags |= unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if c.step.Network == networkNone {
		flags |= unix.CLONE_NEWNET
	}
	return c.program(h), flags
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
		<-ended // it still uses the process ID
	}
	duration := time.Since(p.start)
	ws, usage, reapErr := p.child.Reap()
	go func() { _, _, _ = p.watcher.Reap() }() // it ends as soon as it has seen this, too
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
