package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/doctor"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
	"github.com/cooperbuild/cooper/userns"
)

func newDoctorCmd(env command.Env) *cobra.Command {
	var (
		authFile string
		store    build.StoreOptions
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Try what a build needs of this machine and say what would help",
		Long: `Try what a build needs of this machine: the user namespace and its IDs, mounts, a RUN step, the store,
configuration files. Each check is ok, warn (a build works without), fail (no build works) or skip (not tried,
because of another), with the command or the file that would help below it. The last line says how a build will
run, and why.

The exit status is 0 if a build can work, and 125 if not.`,
		Example: `  cooper doctor
  cooper doctor --json | jq -r '.checks[] | select(.status == "fail") | .fix'`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd, env, store, authFile, asJSON) },
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	f.StringVar(&authFile, "authfile", "", "file with registry credentials")
	command.AddStoreFlags(f, &store)
	return cmd
}

func runDoctor(cmd *cobra.Command, env command.Env, store build.StoreOptions, authFile string, asJSON bool) error {
	if doctor.Task() != "" {
		return doctor.RunTask(cmd.Context(), store)
	}
	set, err := command.Settings()
	if err != nil {
		return err
	}
	who, _ := userns.ThisProcess() // what can't be read is missed by what is tried
	var stopped error
	facts := doctor.Probe(cmd.Context(), doctor.Options{
		Process: who, Stays: env.Stays(), Store: store, AuthFile: authFile,
		NetworkOptional: set.Text(settings.NetworkDefault) != "private" || set.Is(settings.NetworkAllowHost),
		Enter: func(ctx context.Context, stderr *os.File, vars ...string) (int, error) {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			code, err := command.RunInside(ctx, env, command.ChildOptions{Stderr: stderr, Env: vars})
			if s := syscall.Signal(code - command.ExitSignal); err == nil && slices.Contains(endingSignals(), os.Signal(s)) {
				stopped = command.Interrupted{Signal: s}
			}
			return code, err
		},
	})
	// What was interrupted says nothing of the machine.
	if cmd.Context().Err() != nil {
		return context.Cause(cmd.Context())
	}
	if stopped != nil {
		return stopped
	}
	r := doctor.Evaluate(facts)
	write := r.WriteText
	if asJSON {
		write = r.WriteJSON
	}
	if err := write(env.Out()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if !r.Works {
		return command.StatusError(command.ExitMachine)
	}
	return nil
}
