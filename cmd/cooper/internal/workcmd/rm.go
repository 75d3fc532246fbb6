package workcmd

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func newRmCmd(env command.Env) *cobra.Command {
	v := &verb{env: env}
	all := false
	cmd := &cobra.Command{
		Use:     "rm [flags] CONTAINER... | --all",
		Aliases: []string{"delete"},
		Short:   "Remove working containers",
		Long: `Remove working containers with what was written to them, and print their IDs. Images that were made of them stay.
Containers of other tools, such as podman's, stay too.`,
		Example: `  cooper rm $c
  cooper rm --all`,
		Args: func(_ *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return command.Usagef("rm takes containers, or --all\nhint: cooper containers lists them")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return v.remove(cmd.Context(), all, args) },
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "remove all working containers")
	command.AddStoreFlags(cmd.Flags(), &v.store)
	return cmd
}

func (v *verb) remove(ctx context.Context, all bool, names []string) error {
	return v.run(ctx, func(s *build.Session, to progress.Sink) error {
		if all {
			list, err := working.List(ctx, s)
			if err != nil {
				return err
			}
			for _, c := range list {
				if c.Working {
					names = append(names, c.ID)
				}
			}
		}
		var errs []error
		for _, name := range names {
			id, err := working.Remove(ctx, s, name, to)
			if err != nil {
				errs = append(errs, withNearest(ctx, s, err, name))
				continue
			}
			errs = append(errs, v.print(id))
		}
		return errors.Join(errs...)
	})
}

func newRenameCmd(env command.Env) *cobra.Command {
	v := &verb{env: env}
	cmd := &cobra.Command{
		Use:     "rename [flags] CONTAINER NAME",
		Short:   "Give a working container another name",
		Example: `  cooper rename debian-working-container app`,
		Args:    usage(2, 2, "a container and a name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return v.run(ctx, func(s *build.Session, to progress.Sink) error {
				return withNearest(ctx, s, working.Rename(ctx, s, args[0], args[1], to), args[0])
			})
		},
	}
	command.AddStoreFlags(cmd.Flags(), &v.store)
	return cmd
}
