package cachecmd

import (
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// NewCmd makes the command cache.
func NewCmd(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "cache", Short: "Say why steps ran; list, save, load and remove cache mounts",
		Long: `Say why the steps of a build ran; list, save, load and remove cache mounts: the directories of RUN --mount=type=cache.

Builds bring mounts to other machines by themselves with --cache-to TYPE,mounts=all and --cache-from.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Usagef("unknown command %q of cache: there are load, ls, rm, save and why", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newLsCmd(env), newRmCmd(env), newSaveCmd(env), newLoadCmd(env), newWhyCmd(env))
	return cmd
}
