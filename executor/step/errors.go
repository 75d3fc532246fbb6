package step

import (
	"errors"
	"fmt"
)

// ErrNoCwd is what the SetupError of a step whose working directory doesn't exist wraps. The step's program didn't run.
var ErrNoCwd = errors.New("not in the image (WORKDIR makes it)")

// ErrHiddenProc is what the SetupError of a step wraps if parts of the caller's /proc have other mounts over them.
var ErrHiddenProc = errors.New(
	"parts of this machine's /proc are hidden, and the kernel gives a whole one only to who has one already")

// StartError says that the step's program could not be started. It didn't run at all.
type StartError struct {
	Program string // the program as the step names it
	Reason  string // a clause, for people, that says why it couldn't be started
	Err     error  // the errno, nil if there is none
}

func (e *StartError) Error() string { return fmt.Sprintf("exec %s: %s", e.Program, e.Reason) }

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }

// SetupError says that the step's container could not be made.
type SetupError struct {
	Doing string // what the executor was doing, for people: "mount proc", "enter the root"
	Err   error
}

func (e *SetupError) Error() string { return fmt.Sprintf("prepare step: %s: %v", e.Doing, e.Err) }

// Unwrap gives the cause.
func (e *SetupError) Unwrap() error { return e.Err }

// Errors about the Step itself.
var (
	// ErrNoArgs is returned for a Step without Args.
	ErrNoArgs = errors.New("step has no command")
	// ErrStillWritten is the error about a step that has ended while another process goes on writing to one of its files.
	ErrStillWritten = errors.New(
		"the step has ended, but a process outside of it has one of its files open for writing: " +
			"the step must have sent it the open file over a socket")
	// ErrUnknownUser is wrapped by the error about a User that the root's /etc/passwd does not know.
	ErrUnknownUser = errors.New("no such user in the image's /etc/passwd")
	// ErrUnknownGroup is wrapped by the error about a group that the root's /etc/group does not know.
	ErrUnknownGroup = errors.New("no such group in the image's /etc/group")
)
