package workcmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// mountOptions are the flags of mount and umount.
type mountOptions struct {
	verb
	json, all, noTrunc bool
}

func newMountCmd(env command.Env) *cobra.Command {
	o := &mountOptions{verb: verb{env: env}}
	cmd := &cobra.Command{
		Use:   "mount [flags] [CONTAINER...]",
		Short: "Mount working containers and print where",
		Long: `Mount the root file systems of working containers, and print the directory of each; without a CONTAINER, list those that
are mounted.

An ordinary user does that in cooper unshare, where the mounts last as long as it does; root does it where it is. While
a container is mounted, commands in it see the same mount, and aren't taken from the cache.`,
		Example: `  cooper unshare sh -c "cp -r site \$(cooper mount $c)/srv && cooper umount $c"
  cooper unshare --mount root=$c sh -c 'cp -r site $root/srv'`,
		Args: usage(0, 0, "containers"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return o.list(cmd.Context())
			}
			return o.mount(cmd.Context(), args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.json, "json", false, "write JSON")
	f.BoolVar(&o.noTrunc, "notruncate", false, "without effect: nothing is cut")
	f.Lookup("notruncate").Hidden = true
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// mountJSON is an entry of --json.
type mountJSON struct {
	Container  string `json:"container"`
	MountPoint string `json:"mountPoint"`
}

func (o *mountOptions) list(ctx context.Context) error {
	return o.run(ctx, func(s *build.Session, _ progress.Sink) error {
		all, err := working.List(ctx, s)
		if err != nil {
			return err
		}
		all = slices.DeleteFunc(all, func(c working.Listed) bool { return !c.Working || c.MountedAt == "" })
		if o.json {
			entries := []mountJSON{}
			for _, c := range all {
				entries = append(entries, mountJSON{c.Name, c.MountedAt})
			}
			return command.WriteIndented(o.env.Out(), entries)
		}
		for _, c := range all {
			err = errors.Join(err, o.print(c.Name+" "+c.MountedAt))
		}
		return err
	})
}

func (o *mountOptions) mount(ctx context.Context, names []string) error {
	if !o.env.Stays() {
		return command.Usagef("the mount would be gone with this command: an ordinary user's are in a mount namespace of their own\n" +
			"hint: cooper unshare begins a shell in which mounts stay")
	}
	return o.run(ctx, func(s *build.Session, to progress.Sink) error {
		entries := []mountJSON{}
		for _, name := range names {
			dir, err := working.Mount(ctx, s, name, to)
			if err != nil {
				return withNearest(ctx, s, err, name)
			}
			entries = append(entries, mountJSON{name, dir})
		}
		if o.json {
			return command.WriteIndented(o.env.Out(), entries)
		}
		for _, e := range entries {
			line := e.MountPoint
			if len(entries) > 1 {
				line = e.Container + " " + line
			}
			if err := o.print(line); err != nil {
				return err
			}
		}
		return nil
	})
}

func newUmountCmd(env command.Env) *cobra.Command {
	o := &mountOptions{verb: verb{env: env}}
	cmd := &cobra.Command{
		Use:     "umount [flags] CONTAINER... | --all",
		Aliases: []string{"unmount"},
		Short:   "Unmount working containers",
		Long:    `Unmount working containers that cooper mount or buildah mount has mounted here, and print their IDs.`,
		Args: func(_ *cobra.Command, args []string) error {
			if o.all == (len(args) > 0) {
				return command.Usagef("umount takes containers, or --all\nhint: cooper mount lists what is mounted")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.umount(cmd.Context(), args) },
	}
	cmd.Flags().BoolVarP(&o.all, "all", "a", false, "unmount all that are mounted")
	command.AddStoreFlags(cmd.Flags(), &o.store)
	return cmd
}

func (o *mountOptions) umount(ctx context.Context, names []string) error {
	return o.run(ctx, func(s *build.Session, to progress.Sink) error {
		if o.all {
			all, err := working.List(ctx, s)
			if err != nil {
				return err
			}
			for _, c := range all {
				if c.Working && c.MountedAt != "" {
					names = append(names, c.ID)
				}
			}
		}
		var errs []error
		for _, name := range names {
			id, err := working.Unmount(ctx, s, name, to)
			if err != nil {
				errs = append(errs, withNearest(ctx, s, err, name))
				continue
			}
			errs = append(errs, o.print(id))
		}
		return errors.Join(errs...)
	})
}

// MountFor mounts containers for a command, [VARIABLE=]CONTAINER each, and gives the variables with the directories.
func MountFor(ctx context.Context, env command.Env, store build.StoreOptions, mounts []string) ([]string, error) {
	v := verb{env: env, store: store}
	var variables []string
	err := v.run(ctx, func(s *build.Session, to progress.Sink) error {
		for _, m := range mounts {
			variable, name, ok := strings.Cut(m, "=")
			if !ok {
				name = m
			}
			if variable == "" || name == "" {
				return command.Usagef("--mount %q: must be [VARIABLE=]CONTAINER", m)
			}
			dir, err := working.Mount(ctx, s, name, to)
			if err != nil {
				return withNearest(ctx, s, fmt.Errorf("--mount %s: %w", m, err), name)
			}
			variables = append(variables, variable+"="+dir)
		}
		return nil
	})
	return variables, err
}
