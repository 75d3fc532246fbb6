package cachecmd

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/cachemounts"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/build/sharedcache"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// travelOptions are the flags of save and load.
type travelOptions struct {
	ids     []string
	key     string
	replace bool
	command.RegistryFlags
	store build.StoreOptions
}

func (o *travelOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.ids, "id", nil, "only the cache mount with this ID; may be repeated (default all)")
	f.StringVar(&o.key, "cache-key", "", "file with the key that the place is signed with, as of cooper build")
	o.RegistryFlags.Add(f)
	command.AddStoreFlags(f, &o.store)
}

// onePlace takes a place as the only argument.
func onePlace(read func(string) ([]sharedcache.Spec, error)) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return command.Usagef("%s takes a place, such as registry.example.com/team/app:cache, got %d arguments",
				cmd.CommandPath(), len(args))
		}
		if all, err := read(args[0]); err != nil {
			return command.Usage(err)
		} else if len(all) != 1 {
			return command.Usagef("%s takes one place, got %d", cmd.CommandPath(), len(all))
		}
		return nil
	}
}

func newSaveCmd(env command.Env) *cobra.Command {
	var o travelOptions
	cmd := &cobra.Command{
		Use: "save [flags] PLACE", Short: "Bring cache mounts to a place that other machines reach",
		Long: `Bring cache mounts to a place that other machines reach, as cooper build --cache-to PLACE,mounts=all does for those
that a build has used. Builds with --cache-from PLACE begin with them. PLACE is written as for --cache-to.`,
		Example: `  cooper cache save registry.example.com/team/app:cache
  cooper cache save --id go-build type=local,dest=mounts`,
		Args: onePlace(sharedcache.To),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, sharedcache.To, args[0], func(s *build.Session, req cachemounts.Request) error {
				return cachemounts.Save(cmd.Context(), s, req)
			})
		},
	}
	o.add(cmd)
	return cmd
}

func newLoadCmd(env command.Env) *cobra.Command {
	var o travelOptions
	cmd := &cobra.Command{
		Use: "load [flags] PLACE", Short: "Bring cache mounts of a place to this machine",
		Long: `Bring cache mounts of a place to this machine now; builds with --cache-from PLACE do it when a step needs one.
A mount that the store has stays as it is. PLACE is written as for --cache-from. The IDs of those that came are printed.`,
		Example: `  cooper cache load registry.example.com/team/app:cache
  cooper cache load --replace --id go-build type=local,src=mounts`,
		Args: onePlace(sharedcache.From),
		RunE: func(cmd *cobra.Command, args []string) error {
			var came, had []string
			err := o.run(cmd.Context(), env, sharedcache.From, args[0],
				func(s *build.Session, req cachemounts.Request) (err error) {
					came, had, err = cachemounts.Load(cmd.Context(), s, req)
					return err
				})
			for _, id := range came {
				if _, writeErr := fmt.Fprintln(env.Out(), command.Printable(id)); writeErr != nil {
					return errors.Join(err, writeErr)
				}
			}
			for _, id := range had {
				fmt.Fprintf(env.Errs(), "the cache mount id=%s is here already: --replace takes the other\n", command.Printable(id))
			}
			return err
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&o.replace, "replace", false, "also those that the store has, in place of these")
	return cmd
}

// run does something with a place.
func (o *travelOptions) run(ctx context.Context, env command.Env, read func(string) ([]sharedcache.Spec, error),
	place string, do func(s *build.Session, req cachemounts.Request) error) error {
	all, err := read(place)
	if err != nil {
		return command.Usage(err)
	}
	var key *sharedcache.Key
	if o.key != "" {
		if key, err = sharedcache.ReadKey(o.key); err != nil {
			return command.Usage(err)
		}
	}
	reach, err := o.Enter(ctx, env)
	if err != nil {
		return err
	}
	renderer := show.New(show.ModeAuto, env.Stderr)
	s := build.NewSession(build.SessionOptions{Store: o.store, Registry: reach})
	err = do(s, cachemounts.Request{Place: all[0], Key: key, IDs: o.ids, Replace: o.replace, Progress: renderer})
	return errors.Join(err, s.Close(), renderer.Close())
}
