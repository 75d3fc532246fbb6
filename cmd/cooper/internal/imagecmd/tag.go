package imagecmd

import (
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
)

func newTagCmd(env command.Env) *cobra.Command {
	var store build.StoreOptions
	cmd := &cobra.Command{
		Use:   "tag [flags] IMAGE NAME...",
		Short: "Give an image more names",
		Long: `Give an image, by name, ID or digest, more names. A NAME without a registry gets localhost/ before it, and one without
a tag :latest behind it. An image that has the name now loses it.`,
		Example: `  cooper tag app registry.example.com/team/app:1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return command.Usagef("tag takes an image and the names that it gets, got %d words", len(args))
			}
			for _, name := range args[1:] {
				if err := build.CheckName(name); err != nil {
					return command.Usage(err)
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := imagenames.Open(store)
			return imagenames.Finish(s, catalog.Tag(cmd.Context(), s, args[0], args[1:]), args[0])
		},
		ValidArgsFunction: imagenames.Complete(&store, 0),
	}
	command.AddStoreFlags(cmd.Flags(), &store)
	return cmd
}

func newUntagCmd(env command.Env) *cobra.Command {
	var store build.StoreOptions
	cmd := &cobra.Command{
		Use:   "untag [flags] IMAGE [NAME...]",
		Short: "Take names from an image",
		Long: `Take names from an image; without a NAME all that it has. The image stays: cooper rmi removes it, and
one that cooper has built is the cache's then.`,
		Example: `  cooper untag app
  cooper untag app registry.example.com/team/app:1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Usagef("untag takes an image and the names that it loses, got nothing")
			}
			for _, name := range args[1:] {
				if err := build.CheckName(name); err != nil {
					return command.Usage(err)
				}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := imagenames.Open(store)
			return imagenames.Finish(s, catalog.Untag(cmd.Context(), s, args[0], args[1:]), args[0])
		},
		ValidArgsFunction: imagenames.Complete(&store, 0),
	}
	command.AddStoreFlags(cmd.Flags(), &store)
	return cmd
}
