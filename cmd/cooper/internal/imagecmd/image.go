package imagecmd

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
)

// newImageCmd is the group that docker and podman have the verbs for images in.
func newImageCmd(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "The commands for images as docker image and podman image have them",
		Long: `The commands for images under the names that they have in docker image and podman image: ls is cooper images, rm is cooper
rmi, and all others have the same name without image before it.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Usagef("unknown command %q of image\nhint: cooper image --help lists the commands", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	list, remove := newImagesCmd(env), newRmiCmd(env)
	list.Use, list.Aliases = strings.Replace(list.Use, "images", "ls", 1), []string{"list"}
	remove.Use, remove.Aliases = strings.Replace(remove.Use, "rmi", "rm", 1), []string{"remove"}
	cmd.AddCommand(list, remove, newExistsCmd(env), newImagePruneCmd(env), newDiffCmd(env), newHistoryCmd(env),
		newInspectCmd(env), newLoadCmd(env), newPullCmd(env), NewPushCmd(env), newSaveCmd(env), newTagCmd(env),
		newUntagCmd(env))
	return cmd
}

func newExistsCmd(env command.Env) *cobra.Command {
	var store build.StoreOptions
	cmd := &cobra.Command{
		Use:   "exists [flags] IMAGE",
		Short: "Say with the status whether an image is there",
		Long:  `Say with the status whether the store has an image of the name, ID or digest: 0 if so, 1 if not.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return command.Usagef("exists takes one image, got %d words", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := imagenames.Open(store)
			there, err := catalog.Has(cmd.Context(), s, args[0])
			if err := errors.Join(err, s.Close()); err != nil || there {
				return err
			}
			return command.StatusError(command.ExitFailed)
		},
		ValidArgsFunction: imagenames.Complete(&store, 1),
	}
	command.AddStoreFlags(cmd.Flags(), &store)
	return cmd
}

// newImagePruneCmd is rmi --prune under the name that others have for it.
func newImagePruneCmd(env command.Env) *cobra.Command {
	o := rmiOptions{prune: true}
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Remove images without a name",
		Long: `Remove images without a name, or with --all all images that no container uses, but for those of cooper's cache, which
cooper prune removes.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Usagef("image prune takes no arguments, got %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.prune = !o.all
			return runRmi(cmd.Context(), env, &o, nil)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "remove all images that no container uses")
	f.BoolP("force", "f", false, "ask nothing, which is always so")
	f.StringArrayVar(&o.filters, "filter", nil, "remove only what fits KEY=VALUE, as cooper images has it")
	command.Refuse(f, "the images of containers stay\nhint: cooper rm --all removes working containers first", "external")
	command.Refuse(f, "cache mounts are no images\nhint: cooper prune --type=mounts", "build-cache")
	command.AddStoreFlags(f, &o.store)
	return cmd
}
