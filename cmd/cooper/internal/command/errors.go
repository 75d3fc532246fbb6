package command

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The exit statuses.
const (
	ExitOK = 0
	// ExitFailed means that the work failed.
	ExitFailed = 1
	// ExitUsage means that the command line is wrong.
	ExitUsage = 2
	// ExitMachine means that this machine can't do it; the message says what would help.
	ExitMachine = 125
	// ExitSignal plus its number is the status after a signal.
	ExitSignal = 128
)

// UsageError is an error in the command line.
type UsageError struct{ error }

func (e UsageError) Unwrap() error { return e.error }

// Usage makes an error in the command line of an error.
func Usage(err error) error { return UsageError{err} }

// Usagef makes an error in the command line.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// NoArgs refuses arguments of a command that takes none.
func NoArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return Usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// WithStatus is an error that ends the program with a status of its own, whatever it is.
type WithStatus struct {
	error
	Status int
}

// Ending gives an error a status of its own, unless it has one or there is none.
func Ending(err error, status int) error {
	if err == nil || errors.As(err, new(WithStatus)) || errors.As(err, new(StatusError)) {
		return err
	}
	return WithStatus{err, status}
}

func (e WithStatus) Unwrap() error { return e.error }

// StatusError ends the program with a status and without a message: another process has said what there is to say.
type StatusError int

func (e StatusError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// Interrupted is why what was ended by a signal was cancelled.
type Interrupted struct{ Signal syscall.Signal }

func (e Interrupted) Error() string { return "stopped by " + unix.SignalName(e.Signal) }
