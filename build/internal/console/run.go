package console

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor"
)

// grace is how long a command that handles the signal to end may take, as docker has it.
const grace = 10 * time.Second

// Run has run start a command that is connected with the streams, waits for its end and gives its exit status: 128 plus
// the signal's number if a signal ended it. When ctx ends the command is sent the signal of its cause, SIGTERM if
// signal is nil, and is killed if it doesn't handle that or takes too long.
func Run(ctx context.Context, streams Streams, signal func(cause error) syscall.Signal,
	run func(ctx context.Context, connect func(*executor.Step)) (executor.Status, error)) (exit int, err error) {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	connected := console{Streams: streams, interrupted: func() { stop(errInterrupted) }}
	defer func() { err = errors.Join(err, connected.close()) }()
	status, err := run(ctx, func(s *executor.Step) {
		s.Stop = executor.Stop{Grace: grace, Signal: func(cause error) syscall.Signal {
			switch {
			case errors.Is(cause, errInterrupted):
				return unix.SIGINT
			case signal != nil:
				return signal(cause)
			}
			return unix.SIGTERM
		}}
		connected.connect(s)
	})
	if errors.Is(err, errInterrupted) {
		return 128 + int(unix.SIGINT), nil
	}
	return status.ExitCode, err
}

// The statuses with which docker and podman say that a command wasn't run.
const (
	exitNotStarted    = 125
	exitNotExecutable = 126
	exitNotFound      = 127
)

// StatusOf gives the exit status that stands for an error of Run.
func StatusOf(err error) int {
	start := new(executor.StartError)
	switch {
	case !errors.As(err, &start):
		return exitNotStarted
	case errors.Is(start.Err, unix.ENOENT), errors.Is(start.Err, unix.ENOTDIR):
		return exitNotFound
	}
	return exitNotExecutable
}
