package buildxcmd

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/containerd/platforms"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// The words for the one builder. The driver is docker's name for a builder that gives images to the store directly.
const (
	builderName = "default"
	driver      = "docker"
	running     = "running"
	// buildKit is the version of BuildKit whose Dockerfile language is built.
	buildKit = "v0.34.2"
)

// nodes are what docker says of a builder as JSON.
type builder struct {
	Name    string
	Driver  string
	Dynamic bool
	Current bool
	Nodes   []node
}

// node is the machine of a builder.
type node struct {
	Name      string
	Endpoint  string
	Status    string
	Version   string
	Platforms []string
}

// chosen is the name of the builder that was asked for: whatever it is, cooper is it.
func chosen(cmd *cobra.Command, args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	if name, err := cmd.Flags().GetString("builder"); err == nil && name != "" {
		return name
	}
	if name := os.Getenv("BUILDX_BUILDER"); name != "" {
		return name
	}
	return builderName
}

// describe is the builder by a name.
func describe(name string) builder {
	machine := platforms.Format(platforms.Normalize(platforms.DefaultSpec()))
	return builder{
		Name: name, Driver: driver, Current: true,
		Nodes: []node{{Name: name, Endpoint: name, Status: running, Version: buildKit, Platforms: []string{machine}}},
	}
}

func newInspectCmd(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "inspect [NAME]", Short: "Show the builder", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b := describe(chosen(cmd, args))
			t := tabwriter.NewWriter(env.Out(), 0, 0, 1, ' ', 0)
			fmt.Fprintf(t, "Name:\t%s\nDriver:\t%s\n\nNodes:\n", command.Printable(b.Name), b.Driver)
			n := b.Nodes[0]
			fmt.Fprintf(t, "Name:\t%s\nEndpoint:\t%s\nStatus:\t%s\nBuildKit version:\t%s\nPlatforms:\t%s\n",
				command.Printable(n.Name), command.Printable(n.Endpoint), n.Status, n.Version, strings.Join(n.Platforms, ", "))
			return t.Flush()
		},
	}
	cmd.Flags().Bool("bootstrap", false, "without effect: the builder always runs")
	return cmd
}

func newListCmd(env command.Env) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use: "ls", Short: "List the builder", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			b := describe(chosen(cmd, nil))
			switch format {
			case "json":
				return command.WriteJSONLine(env.Out(), b)
			case "", "table":
				n := b.Nodes[0]
				t := tabwriter.NewWriter(env.Out(), 0, 0, 4, ' ', 0)
				fmt.Fprintln(t, "NAME/NODE\tDRIVER/ENDPOINT\tSTATUS\tBUILDKIT\tPLATFORMS")
				fmt.Fprintf(t, "%s*\t%s\t\t\t\n", command.Printable(b.Name), b.Driver)
				fmt.Fprintf(t, " \\_ %s\t \\_ %s\t%s\t%s\t%s\n", command.Printable(n.Name), command.Printable(n.Endpoint), n.Status,
					n.Version, strings.Join(n.Platforms, ", "))
				return t.Flush()
			}
			layout, err := command.ReadLayout[builder](format)
			if err != nil {
				return err
			}
			return command.WriteRows(env.Out(), layout, true, []builder{b})
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "how to write it: table, json or a template")
	cmd.Flags().Bool("no-trunc", false, "don't shorten, which never happens")
	return cmd
}

// newCreateCmd prints the name of the builder that isn't made, since scripts go on with it.
func newCreateCmd(env command.Env) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "create [flags] [CONTEXT]", Short: "Make a builder, which has no effect", Args: cobra.MaximumNArgs(1),
		RunE: func(*cobra.Command, []string) error {
			noEffect(env, "create")
			if name == "" {
				name = builderName
			}
			_, err := fmt.Fprintln(env.Out(), command.Printable(name))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "name of the builder")
	for _, flag := range []string{"append", "bootstrap", "leave", "use"} {
		f.Bool(flag, false, "without effect")
	}
	for _, flag := range []string{"buildkitd-config", "buildkitd-flags", "config", "driver", "node"} {
		f.String(flag, "", "without effect")
	}
	for _, flag := range []string{"driver-opt", "platform"} {
		f.StringArray(flag, nil, "without effect")
	}
	return cmd
}
