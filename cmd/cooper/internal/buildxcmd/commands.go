package buildxcmd

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Command is buildx with the commands below it. own are cooper's verbs that are buildx's as well, by buildx's names.
func Command(env command.Env, own ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   word,
		Short: "Be docker buildx",
		Long: `Be docker buildx: the commands that docker's own command line, docker compose and other tools run. A link to cooper
by the name docker-buildx in ~/.docker/cli-plugins is docker's plugin: docker build and docker compose build are built
by cooper then. A link by the name buildx in PATH is for tools that run without docker. There is one builder, cooper
itself; commands that make or choose others have no effect.`,
		Example: `  ln -s "$(command -v cooper)" ~/.docker/cli-plugins/docker-buildx
  docker buildx build -t app .`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Usagef("unknown command %q of buildx\nhint: %s --help lists the commands", args[0], cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	f := cmd.PersistentFlags()
	f.String("builder", "", "without effect")
	f.BoolP("debug", "D", false, "without effect")
	for _, name := range []string{"builder", "debug"} {
		f.Lookup(name).Hidden = true
	}
	cmd.AddCommand(own...)
	cmd.AddCommand(newCreateCmd(env), newHistoryCmd(), newInspectCmd(env), newListCmd(env), newMetadataCmd(env),
		newVersionCmd(env))
	for _, c := range []struct{ name, does string }{
		{"rm", "Remove a builder"}, {"stop", "Stop a builder"}, {"use", "Choose a builder"},
		{"install", "Make docker build an alias of docker buildx build"}, {"uninstall", "Remove the alias"},
	} {
		cmd.AddCommand(newVainCmd(env, c.name, c.does))
	}
	for name, instead := range map[string]string{
		"dap": "", "debug": "", "dial-stdio": "", "policy": "",
		"replay": "builds of the same sources are the same with --source-date-epoch",
	} {
		cmd.AddCommand(newMissingCmd(name, instead))
	}
	return cmd
}

// newVainCmd makes a command without effect, which says so.
func newVainCmd(env command.Env, name, does string) *cobra.Command {
	return &cobra.Command{
		Use: name + " [flags] [NAME...]", Short: does + ", which has no effect", DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && (args[0] == "--help" || args[0] == "-h") {
				return cmd.Help()
			}
			noEffect(env, name)
			return nil
		},
	}
}

func noEffect(env command.Env, name string) {
	fmt.Fprintf(env.Errs(), "%s has no effect: there is one builder, cooper itself\n", name)
}

// newMissingCmd makes a command that is refused.
func newMissingCmd(name, instead string) *cobra.Command {
	return &cobra.Command{
		Use: name, Hidden: true, DisableFlagParsing: true,
		RunE: func(*cobra.Command, []string) error {
			err := fmt.Sprintf("buildx %s is not supported", name)
			if instead != "" {
				err += "\nhint: " + instead
			}
			return command.Usagef("%s", err)
		},
	}
}

// newHistoryCmd refuses what is about builds that are over: nobody keeps a record of them.
func newHistoryCmd() *cobra.Command {
	return &cobra.Command{
		Use: "history", Hidden: true, DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			what := strings.TrimSpace("buildx history " + strings.Join(args[:min(len(args), 1)], ""))
			return command.Usagef("%s is not supported: no record is kept of builds\n"+
				"hint: build --logfile FILE keeps the log, and --metadata-file FILE what was built", what)
		},
	}
}

func newVersionCmd(env command.Env) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(env.Out(), "github.com/docker/buildx %s cooper-%s\n", version(), env.Version)
			return err
		},
	}
}
