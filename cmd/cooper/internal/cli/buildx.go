package cli

import (
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/bakecmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildxcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/diskcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/manifestcmd"
)

// newBuildxCmd is buildx with those of cooper's verbs that are buildx's.
func newBuildxCmd(env command.Env) *cobra.Command {
	bake, build := bakecmd.NewCmd(env), buildcmd.NewCmd(env)
	bake.Aliases, build.Aliases = []string{"f"}, []string{"b"}
	du, prune := diskcmd.NewDfCmd(env), diskcmd.NewPruneCmd(env)
	du.Use, du.Example = "du [flags]", ""
	du.Flags().StringArray("filter", nil, "without effect: all is shown")
	prune.Example = ""
	for _, name := range []string{"reserved-space", "min-free-space", "timeout"} {
		prune.Flags().String(name, "", "without effect")
	}
	prune.Flags().Bool("verbose", false, "without effect: each item is shown")
	return buildxcmd.Command(env, bake, build, du, prune, manifestcmd.NewImagetoolsCmd(env))
}
