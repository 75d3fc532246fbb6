package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

// The statuses of a command that can't be executed are those that shells give.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

func newUnshareCmd(env Env) *cobra.Command {
	var showMap bool
	cmd := &cobra.Command{
		Use:   "unshare [--map] [--] [COMMAND [ARG...]]",
		Short: "Run a shell or a command in the user namespace of a build",
		Long: `Run a shell ($SHELL, else /bin/sh) or a command in the user namespace of a build: as its root, with the same IDs. There, the files
that steps have given to other users can be looked at, changed and removed. Mounts made there are seen there only, and go with it.

The exit status is the command's, or 128 plus the number of the signal that ended it; 127 if there is no such command, and 126 if it
can't be executed. Signals are handed on.

Root's builds run where they are started, so root needs no unshare; with --map it is shown what the RUN steps of root's builds get.`,
		Example: `  cooper unshare
  cooper unshare rm -rf build-output
  cooper unshare --map`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if showMap && len(args) > 0 {
				return usagef("--map runs no command, got %q", args)
			}
			if showMap {
				return runMap(cmd.Context(), env)
			}
			return runUnshare(cmd.Context(), env, args)
		},
	}
	cmd.Flags().BoolVar(&showMap, "map", false, "print the IDs of the namespace instead of entering it")
	cmd.Flags().SetInterspersed(false) // what follows the command is its own
	return cmd
}

func runUnshare(ctx context.Context, env Env, args []string) error {
	if env.Inside {
		return execute(env, args)
	}
	if os.Geteuid() == 0 {
		return usagef("unshare is for ordinary users: root's builds run where they are started\n" +
			"hint: run the command as it is; cooper unshare --map shows the IDs of RUN steps")
	}
	code, err := runInside(ctx, childOptions{private: true})
	if err != nil {
		return err
	}
	return statusError(code)
}

// execute makes this process the command, so that the one outside waits for the command itself and its signals reach that.
func execute(env Env, args []string) error {
	if len(args) == 0 {
		shell := os.Getenv("SHELL")
		if shell == "" {
			shell = "/bin/sh"
		}
		args = []string{shell}
	}
	// The command goes on from the thread that executes it, and a thread that is younger than the namespace has no such setting.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	path, err := exec.LookPath(args[0])
	if err == nil || errors.Is(err, exec.ErrDot) {
		err = syscall.Exec(path, args, os.Environ())
	}
	if reason := new(exec.Error); errors.As(err, &reason) {
		err = reason.Err
	}
	fmt.Fprintf(env.Stderr, "cooper: execute %s: %v\n", args[0], err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return statusError(exitNotFound)
	}
	return statusError(exitNotExecutable)
}

func runMap(ctx context.Context, env Env) error {
	m, err := stepMapping(ctx, env)
	if err != nil {
		return err
	}
	if err := writeMapping(env.Stdout, m); err != nil {
		return fmt.Errorf("write map: %w", err)
	}
	return nil
}

// stepMapping is the map of the namespace that RUN steps are in.
func stepMapping(ctx context.Context, env Env) (userns.Mapping, error) {
	if os.Geteuid() != 0 {
		_, m, err := userMapping(ctx)
		return m, err
	}
	id, note, err := identity(ctx, env)
	if err != nil {
		return userns.Mapping{}, err
	}
	if note != "" {
		fmt.Fprintln(env.Stderr, note)
	}
	if id.Steps != nil {
		return *id.Steps, nil
	}
	return currentMapping()
}

func writeMapping(w io.Writer, m userns.Mapping) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tCONTAINER\tHOST\tLENGTH")
	for _, kind := range []struct {
		name string
		ids  userns.Map
	}{{userns.KindUID, m.UIDs}, {userns.KindGID, m.GIDs}} {
		for _, r := range kind.ids {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", kind.name, r.Container, r.Host, r.Length)
		}
	}
	return t.Flush()
}
