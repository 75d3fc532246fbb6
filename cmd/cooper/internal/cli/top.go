package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/top"
)

func newTopCmd(env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "top [BUILD] [DESCRIPTOR...]",
		Short: "Show the processes of running steps",
		Long: `Show the processes of the RUN steps that run now, in all of the user's builds or in BUILD: an ID from the first column or the beginning
of one, or a tag that the build gives.

Each DESCRIPTOR is a column, with podman's names; several may be given with commas between them. Those with an h show the host's view:
` + top.Descriptors() + `.`,
		Example: `  cooper top
  cooper top app
  cooper top user,huser,uidmap,args`,
		RunE: func(_ *cobra.Command, args []string) error { return runTop(env, args) },
	}
}

func runTop(env Env, args []string) error {
	dir, err := build.RunDir(owner().ID)
	if err != nil {
		return err
	}
	steps, err := top.List(dir)
	if err != nil {
		return err
	}
	if len(args) > 0 && !top.IsDescriptors(args[0]) {
		steps = slices.DeleteFunc(steps, func(s top.Step) bool { return !s.Match(args[0]) })
		if len(steps) == 0 {
			return usagef("%q is neither a build with a running step nor a descriptor\nhint: the descriptors are %s", args[0], top.Descriptors())
		}
		args = args[1:]
	}
	table, err := top.NewTable(args)
	if err != nil {
		return usageError{err}
	}
	found, err := top.Processes(steps)
	if err != nil {
		return err
	}
	if err := table.Write(env.Stdout, found); err != nil {
		return fmt.Errorf("write table: %w", err)
	}
	return nil
}
