package command

import "fmt"

// The exit statuses.
const (
	ExitOK = 0
	// ExitFailed means that the work failed.
	ExitFailed = 1
	// ExitUsage means that the command line is wrong.
	ExitUsage = 2
	// ExitMachine means that this machine can't do it; the message says what would help.
	ExitMachine = 125
)

// UsageError is an error in the command line.
type UsageError struct{ error }

func (e UsageError) Unwrap() error { return e.error }

// Usage makes an error in the command line of an error.
func Usage(err error) error { return UsageError{err} }

// Usagef makes an error in the command line.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// StatusError ends the program with a status and without a message: another process has said what there is to say.
type StatusError int

func (e StatusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }
