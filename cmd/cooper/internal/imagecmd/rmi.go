package imagecmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
)

// rmiOptions are the flags of rmi.
type rmiOptions struct {
	all, prune, force, ignore, noPrune bool
	filters                            []string
	store                              build.StoreOptions
}

func newRmiCmd(env command.Env) *cobra.Command {
	var o rmiOptions
	cmd := &cobra.Command{
		Use:   "rmi [flags] IMAGE... | --all | --prune",
		Short: "Remove images, or names of them",
		Long: `Remove images by name, ID or digest, with the layers that nothing else has. An image with several names loses the
given one only.

What a container, an index or a running build uses stays, and so do layers that other images are on or that the cache
holds for other builds; cooper prune removes the latter.`,
		Example: `  cooper rmi app:1 app:2
  cooper rmi --force 2f2c1cb4bdc9
  cooper rmi --prune`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case o.all && o.prune:
				return command.Usagef("--all and --prune: give one of them")
			case (o.all || o.prune) && len(args) > 0:
				return command.Usagef("--all and --prune take no images, got %q", args[0])
			case !o.all && !o.prune && len(args) == 0:
				return command.Usagef("rmi takes the images to remove, got nothing\nhint: cooper images lists them")
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runRmi(cmd.Context(), env, &o, args) },
		ValidArgsFunction: imagenames.Complete(&o.store, 0),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.force, "force", "f", false,
		"remove what an ID or a digest names with all its names; images that aren't there are no error")
	f.BoolVarP(&o.prune, "prune", "p", false, "remove the images without a name, but for those of cooper's cache")
	f.BoolVarP(&o.all, "all", "a", false, "remove all images, but for those of cooper's cache")
	f.BoolVarP(&o.ignore, "ignore", "i", false, "images that aren't there are no error")
	f.BoolVar(&o.noPrune, "no-prune", false, "leave the images without a name that only these were built on")
	command.Refuse(f, "an image for one platform of an index is removed from that\nhint: cooper manifest remove INDEX IMAGE",
		"platform")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

func runRmi(ctx context.Context, env command.Env, o *rmiOptions, args []string) error {
	filters, err := catalog.ParseFilters(o.filters)
	if err != nil {
		return command.Usagef("--filter %w", err)
	}
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	s := imagenames.Open(o.store)
	err = RemoveImages(ctx, env, s, catalog.RemoveRequest{Images: args, All: o.all, Dangling: o.prune, Filters: filters,
		Force: o.force, Ignore: o.ignore, KeepParents: o.noPrune})
	return imagenames.Finish(s, err, args...)
}

// RemoveImages removes images and prints what goes.
func RemoveImages(ctx context.Context, env command.Env, s *build.Session, req catalog.RemoveRequest) error {
	var writeErr error
	req.Done = func(r catalog.Removed) {
		line := "Deleted: " + r.ID
		if r.Name != "" {
			line = "Untagged: " + command.Printable(r.Name)
		}
		if _, err := fmt.Fprintln(env.Out(), line); err != nil && writeErr == nil {
			writeErr = fmt.Errorf("write what was removed: %w", err)
		}
	}
	return errors.Join(catalog.Remove(ctx, s, req), writeErr)
}
