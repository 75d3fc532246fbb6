package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// status tells of an error and gives the status that the program ends with.
func status(env command.Env, err error) int {
	if err == nil {
		return command.ExitOK
	}
	var quiet command.StatusError
	if errors.As(err, &quiet) {
		return int(quiet)
	}
	text, code := statusIn(env.Dialect, err, ownStatus(err))
	fmt.Fprintln(env.Errs(), text)
	if fault := new(guard.Panic); errors.As(err, &fault) {
		fmt.Fprintln(env.Errs(),
			"hint: this is a fault of cooper's: please report it; with GOTRACEBACK=all in the environment it is shown in full")
		if os.Getenv("GOTRACEBACK") == "all" {
			fmt.Fprintf(env.Errs(), "%s", fault.Stack)
		}
	}
	return code
}

// ownStatus is the status that tells whose fault an error is.
func ownStatus(err error) int {
	var (
		usage   command.UsageError
		machine *reexec.MachineError
		place   *build.StoreError
		stopped command.Interrupted
		fault   *guard.Panic
		own     command.WithStatus
	)
	switch {
	case errors.As(err, &own):
		return own.Status
	case errors.As(err, &usage):
		return command.ExitUsage
	case errors.As(err, &stopped):
		return command.ExitSignal + int(stopped.Signal)
	case errors.As(err, &fault), errors.As(err, &machine), errors.As(err, &place), errors.Is(err, userns.ErrNoSubIDs),
		errors.Is(err, userns.ErrTooFewSubIDs),
		errors.Is(err, userns.ErrBadSubIDs), errors.Is(err, userns.ErrNoGetsubids), errors.Is(err, build.ErrMachine),
		errors.Is(err, userns.ErrNoFreeIDs):
		return command.ExitMachine
	case errors.Is(err, userns.ErrBadRequest):
		return command.ExitUsage
	case errors.Is(err, userns.ErrBadMap): // nobody has asked for it
		return command.ExitMachine
	}
	return command.ExitFailed
}

// podmansError is a failed build as podman and buildah tell of it: the instruction that failed, and the exit status of
// its command as that of the program. Any other error of theirs is status 125.
func podmansError(err error) (text string, status int) {
	failed := new(build.StepError)
	if !errors.As(err, &failed) {
		return err.Error(), command.ExitMachine
	}
	if failed.ExitCode != 0 {
		return fmt.Sprintf("building at STEP %q: while running runtime: exit status %d", failed.Text, failed.ExitCode),
			failed.ExitCode
	}
	return fmt.Sprintf("building at STEP %q: %v", failed.Text, failed.Err), command.ExitMachine
}

// statusIn is the status of an error in a dialect, and what is said of it; own is cooper's status.
func statusIn(d dialect.Dialect, err error, own int) (text string, status int) {
	switch {
	case d.Containers() && own < command.ExitSignal:
		text, status = podmansError(err)
		return "Error: " + text, status
	case d == dialect.Docker && own == command.ExitUsage:
		own = command.ExitMachine
	}
	return "cooper: " + err.Error(), own
}
