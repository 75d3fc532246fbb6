package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func newVersionCmd(env command.Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(env.Out(), "cooper %s %s/%s %s\n", env.Version, runtime.GOOS, runtime.GOARCH,
				runtime.Version())
			return err
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return command.Usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
