package reexec

import "errors"

// marker is the environment variable by which Enter tells the program that it is
// the child: "FD,PPID,PROPAGATION".
const marker = "COOPER_INTERNAL_USERNS"

// What the errors of this package match with errors.Is, besides the cause they
// carry.
var (
	// ErrParentGone: the parent ended before the child's maps were written.
	ErrParentGone = errors.New("the parent process is gone")
	// ErrBadMarker: the variable by which Enter speaks to Child holds something else.
	ErrBadMarker = errors.New(marker + " is set, but not by this program; unset it")
	// ErrNoRoot: the mapping has no place for container ID 0.
	ErrNoRoot = errors.New("the mapping leaves out container ID 0")
)

// MachineError is something this machine lacks or forbids, with its remedy. The
// program's exit status for it is 125.
type MachineError struct {
	Problem string // what is wrong, a clause without a full stop
	Remedy  string // what to type or to ask for
	Err     error  // the cause; may be nil
}

func (e *MachineError) Error() string { return e.Problem + "; " + e.Remedy }

// Unwrap gives the cause.
func (e *MachineError) Unwrap() error { return e.Err }
