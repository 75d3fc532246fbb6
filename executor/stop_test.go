package executor_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/executor"
)

// ready calls tell when the step has said that it is ready.
type ready struct{ tell func() }

func (r ready) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "ready") {
		r.tell()
	}
	return len(p), nil
}

// A step is asked to end with the signal of the cause. One that handles it has not failed.
func TestStepEndsAsItIsAsked(t *testing.T) {
	cause := errors.New("enough")
	for name, test := range map[string]struct {
		script  string
		code    int
		stopped bool
	}{
		"handles it":            {"trap 'exit 9' USR1; echo ready; while :; do sleep 0.1; done", 9, false},
		"handles another":       {"trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done", 0, true},
		"handles it for naught": {"trap : USR1; echo ready; while :; do sleep 0.1; done", 0, true},
	} {
		b := newBox(t)
		ctx, stop := context.WithCancelCause(context.Background())
		s := b.sh(test.script)
		s.Runtime = nil // OCI runtimes hand on the signals that they choose to
		s.Stdout = ready{func() { stop(cause) }}
		s.Stop = executor.Stop{Grace: time.Minute, Signal: func(err error) syscall.Signal {
			if !errors.Is(err, cause) {
				t.Errorf("%s: asked about %v", name, err)
			}
			return syscall.SIGUSR1
		}}
		if test.stopped {
			s.Stop.Grace = time.Second
		}
		status, err := executor.Run(ctx, s)
		if status.ExitCode != test.code || errors.Is(err, cause) != test.stopped {
			t.Errorf("%s: %+v %v", name, status, err)
		}
	}
}
