package reexec

import "errors"

// marker is the environment variable by which Enter tells the program that it is
// the child: "FD,PPID,PROPAGATION".
const marker = "COOPER_INTERNAL_USERNS"

// Errors that callers may tell apart with errors.Is, besides the causes that they wrap.
var (
	// ErrParentGone means that the parent ended before the child's maps were written.
	ErrParentGone = errors.New("the parent process is gone")
	// ErrBadMarker means that the environment variable which Enter sets for Child holds a value that Enter didn't write.
	ErrBadMarker = errors.New(marker + " is set, but not by this program; unset it")
	// ErrNoRoot means that the mapping leaves out container ID 0.
	ErrNoRoot = errors.New("the mapping leaves out container ID 0")
)

// MachineError is something this machine lacks or forbids, with its remedy. The
// program's exit status for it is 125.
type MachineError struct {
	Problem string // what is wrong, a clause without a full stop
	Remedy  string // the command to type or the change to ask an administrator for
	Err     error  // the cause; may be nil
}

func (e *MachineError) Error() string { return e.Problem + "; " + e.Remedy }

// Unwrap gives the cause.
func (e *MachineError) Unwrap() error { return e.Err }
