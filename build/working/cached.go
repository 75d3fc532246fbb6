package working

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/console"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// step does work as a step of a build, on what the container has now, and puts the container on the result. What was
// written to the container's layer by anybody else meanwhile, such as by way of a mount, becomes a layer first: the key
// of the work has the content of all that.
func (e *engine) step(ctx context.Context, s *plan.Step, w rootfs.Work, below *rootfs.Root) (cached bool, err error) {
	root, cached, err := e.roots.Make(ctx, s, below, w)
	if err != nil {
		return false, err
	}
	if err := errors.Join(root.Wait(ctx), e.roots.Wait()); err != nil {
		return false, err
	}
	// From here on nothing takes long, and nothing may be left half done.
	ctx = context.WithoutCancel(ctx)
	if err := e.rebase(ctx, root); err != nil {
		return false, err
	}
	return cached, e.depot.Store.Parts().Durable.Settle()
}

// runStep runs a command as a step. One whose inputs are the same isn't run again: what it has written to its streams
// is written once more. One that fails, that reads input or that sees files of the host is run each time.
func (e *engine) runStep(ctx context.Context, op *plan.Run, command Command, streams Streams) (exit int, err error) {
	below, err := e.seal(ctx)
	if err != nil {
		return 0, err
	}
	streams.Interactive = streams.Interactive && hasInput(streams.Stdin)
	fresh := streams.Interactive || len(e.options.Run.Volumes) > 0
	out, errs := console.Output(streams.Stdout), console.Output(streams.Stderr)
	w := &recordedRun{recorder: &recorder{}, fresh: fresh}
	s := &plan.Step{Text: text(op), Fresh: fresh}
	// The key is known without the command's streams.
	w.Work = runstep.Connected(e.runs(), s, op, nil, nil)
	key, err := w.outputKey(ctx, below)
	if err != nil {
		return 0, err
	}
	var kept []part
	there := false
	if rec := e.cache.Get(key); rec != nil {
		kept, there = unpack(rec.Output)
	}
	s.Fresh = s.Fresh || !there // what it wrote is nowhere to be had
	exit, err = console.Run(ctx, streams, command.Signal, func(ctx context.Context,
		connect func(*executor.Step)) (executor.Status, error) {
		w.Work = runstep.Connected(e.runs(), s, op, nil, func(step *executor.Step) {
			connect(step)
			step.Stdout = w.recorder.stream(stdout, step.Stdout)
			step.Stderr = w.recorder.stream(stderr, step.Stderr)
		})
		cached, err := e.step(ctx, s, w, below)
		if err != nil {
			return executor.Status{}, err
		}
		e.tell(cached, s.Text)
		if cached {
			return executor.Status{}, replay(kept, out, errs)
		}
		return executor.Status{ExitCode: w.status()}, e.keepOutput(key, w, s.Text)
	})
	return exit, err
}

// keepOutput keeps what a command has written for the next time.
func (e *engine) keepOutput(key cache.Key, w *recordedRun, text string) error {
	if w.fresh || w.status() != 0 || w.recorder.tooMuch() {
		return nil
	}
	packed, err := w.recorder.packed()
	if err != nil {
		return err
	}
	return e.cache.Put(key, cache.Record{Output: packed, Created: now(), Step: "output of " + text})
}

// tell tells the caller whether a step was done.
func (e *engine) tell(cached bool, text string) {
	if e.options.Did != nil {
		e.options.Did(cached, text)
	}
}

// recordedRun is the work of a command whose output is kept. What a command that fails has written to the container's
// files stays, but nothing finds it in the cache.
type recordedRun struct {
	rootfs.Work
	recorder *recorder
	// fresh says that the command is run each time.
	fresh bool
	// exit is how the command has ended, if it has failed.
	exit *runstep.ExitError
}

// Exec runs the command.
func (w *recordedRun) Exec(ctx context.Context, t *rootfs.Staged) error {
	err := w.Work.Exec(ctx, t)
	if ctx.Err() == nil && errors.As(err, &w.exit) {
		return nil
	}
	return err
}

// status is the command's exit status.
func (w *recordedRun) status() int {
	if w.exit == nil {
		return 0
	}
	return w.exit.Code
}

// Stable tells whether the next time nothing would be otherwise.
func (w *recordedRun) Stable(ctx context.Context) (bool, error) {
	same, err := w.Work.Stable(ctx)
	return same && !w.fresh && w.exit == nil && !w.recorder.tooMuch(), err
}

// outputKey is the key of what the command writes to its streams.
func (w *recordedRun) outputKey(ctx context.Context, below *rootfs.Root) (cache.Key, error) {
	key, err := w.Keys()[0](ctx, below.Content())
	return cache.NewKey("output").Add("of", string(key)).Key(), err
}

// hasInput tells whether a stream may have something to read that is meant for the command. A terminal hasn't: whoever
// wants the command to have one says so.
func hasInput(f *os.File) bool {
	if f == nil || terminal.Is(f) {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil &&
		(st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(nullMajor, nullMinor))
}

// The numbers of the null device.
const (
	nullMajor = 1
	nullMinor = 3
)
