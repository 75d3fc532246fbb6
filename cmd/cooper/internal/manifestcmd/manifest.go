package manifestcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/build/manifestlist"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/build/pullimage"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagecmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
)

// manifestOptions are the flags of the commands below manifest; each takes some of them.
type manifestOptions struct {
	all, amend, index       bool
	annotations, osFeatures []string
	features                []string
	change                  manifestlist.Change
	command.RegistryFlags
	store build.StoreOptions
}

// NewCmd makes the command manifest.
func NewCmd(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest",
		Short: "Make indexes of images for several platforms",
		Long: `Make indexes of images for several platforms, which docker and podman call manifest lists, and push them. They are in
the store, where podman manifest sees them.`,
		Example: `  cooper manifest create app:1 app:amd64 app:arm64
  cooper manifest annotate --variant v8 app:1 app:arm64
  cooper manifest push app:1 registry.example.com/team/app:1`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Usagef("unknown command %q of manifest\nhint: cooper manifest --help lists the commands", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newManifestAddCmd(env), newManifestAnnotateCmd(env), newManifestCreateCmd(env),
		newManifestExistsCmd(env), newManifestInspectCmd(env), newManifestPushCmd(env), newManifestRemoveCmd(env),
		newManifestRmCmd(env))
	return cmd
}

// words refuses another number of arguments than a command takes; most is 0 if there may be any number.
func words(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || most > 0 && len(args) > most {
			return command.Usagef("manifest %s takes %s, got %d words", cmd.Name(), what, len(args))
		}
		return nil
	}
}

func newManifestCreateCmd(env command.Env) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "create [flags] LIST [IMAGE...]",
		Short: "Make a manifest list of images",
		Long: `Make a manifest list of images of the store, or of registries, from where they are pulled. The ID of the list is
printed.`,
		Args: words(1, 0, "a name for the list and images"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args, func(ctx context.Context, s *build.Session) (string, error) {
				annotations, err := command.ParsePairs("--annotation", o.annotations)
				if err != nil {
					return "", err
				}
				if err := o.fetch(ctx, env, s, args[1:]); err != nil {
					return "", err
				}
				return manifestlist.Create(ctx, s, args[0], bare(args[1:]), manifestlist.CreateOptions{
					Amend: o.amend, All: o.all, Annotations: annotations})
			})
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 0),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.amend, "amend", "a", false, "add to a list that is there already")
	f.BoolVar(&o.all, "all", false, "add all images of those that are indexes themselves")
	f.StringArrayVar(&o.annotations, "annotation", nil, "annotation of the index, KEY=VALUE")
	o.reach(cmd)
	alias(f, "insecure", "tls-verify", false)
	return cmd
}

func newManifestAddCmd(env command.Env) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "add [flags] LIST IMAGE...",
		Short: "Add images to a manifest list",
		Long: `Add images of the store, or of registries, from where they are pulled, to a manifest list. The flags say what the list
tells of them where that is another platform than their configs have. The ID of the list is printed.`,
		Args: words(2, 0, "a list and images"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args, func(ctx context.Context, s *build.Session) (string, error) {
				if err := o.fetch(ctx, env, s, args[1:]); err != nil {
					return "", err
				}
				return manifestlist.Add(ctx, s, args[0], bare(args[1:]), manifestlist.AddOptions{All: o.all, Change: o.change})
			})
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 0),
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "add all images of those that are indexes themselves")
	command.Refuse(f, "a list has images only\nhint: oras attach pushes artifacts", "artifact", "artifact-annotation",
		"artifact-config", "artifact-config-type", "artifact-exclude-titles", "artifact-layer-type", "artifact-subject",
		"artifact-type")
	o.describe(cmd)
	o.reach(cmd)
	return cmd
}

func newManifestAnnotateCmd(env command.Env) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "annotate [flags] LIST [IMAGE]",
		Short: "Change what a manifest list tells of an image",
		Long: `Change what a manifest list tells of an image, which is given by its name or ID or the digest of its manifest. With
--index the annotations are those of the list itself. The ID of the list is printed.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.index {
				return words(1, 1, "with --index only a list")(cmd, args)
			}
			return words(2, 2, "a list and an image")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args, func(ctx context.Context, s *build.Session) (string, error) {
				image := ""
				if len(args) > 1 {
					image = args[1]
				}
				return manifestlist.Annotate(ctx, s, args[0], image, o.change)
			})
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 2),
	}
	cmd.Flags().BoolVar(&o.index, "index", false, "annotate the list itself")
	command.Refuse(cmd.Flags(), "a list refers to no other\nhint: oras attach makes what refers to an image", "subject")
	o.describe(cmd)
	command.AddStoreFlags(cmd.Flags(), &o.store)
	return cmd
}

func newManifestRemoveCmd(env command.Env) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "remove [flags] LIST IMAGE",
		Short: "Take an image from a manifest list",
		Long: `Take an image, which is given by its name or ID or the digest of its manifest, from a manifest list. It stays in the
store. The ID of the list is printed.`,
		Args: words(2, 2, "a list and an image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd.Context(), env, args, func(ctx context.Context, s *build.Session) (string, error) {
				return manifestlist.Remove(ctx, s, args[0], args[1])
			})
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 2),
	}
	command.AddStoreFlags(cmd.Flags(), &o.store)
	return cmd
}

func newManifestExistsCmd(env command.Env) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "exists [flags] LIST",
		Short: "Say with the status whether a manifest list is there",
		Long:  `Say with the status whether the store has a manifest list of the name: 0 if so, 1 if not.`,
		Args:  words(1, 1, "a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := imagenames.Open(o.store)
			there, err := manifestlist.Exists(cmd.Context(), s, args[0])
			if err := errors.Join(err, s.Close()); err != nil || there {
				return err
			}
			return command.StatusError(command.ExitFailed)
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 1),
	}
	command.AddStoreFlags(cmd.Flags(), &o.store)
	return cmd
}

func newManifestInspectCmd(env command.Env) *cobra.Command {
	var o manifestOptions
	cmd := &cobra.Command{
		Use:   "inspect [flags] LIST",
		Short: "Show a manifest list",
		Long: `Show a manifest list as JSON: that of the store, or else what the registry has under the name, which may be an image's
manifest. Nothing is pulled.`,
		Args: words(1, 1, "a list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			reach, err := o.Enter(cmd.Context(), env)
			if err != nil {
				return err
			}
			s := build.NewSession(build.SessionOptions{Store: o.store, Registry: reach})
			text, err := inspectList(cmd.Context(), s, args[0])
			if err := imagenames.Finish(s, err, args...); err != nil {
				return err
			}
			return command.WriteIndented(env.Out(), json.RawMessage(text))
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 1),
	}
	o.reach(cmd)
	alias(cmd.Flags(), "insecure", "tls-verify", false)
	command.Refuse(cmd.Flags(), "the images of a list are not shown with it\nhint: cooper manifest inspect NAME@DIGEST "+
		"shows the manifest of one in a registry", "verbose,v")
	return cmd
}

// inspectList gives the text of a list of the store, or else of what the registry has under the name.
func inspectList(ctx context.Context, s *build.Session, name string) ([]byte, error) {
	text, err := manifestlist.Inspect(ctx, s, name)
	missing := errors.Is(err, catalog.ErrNoImage) || errors.Is(err, manifestlist.ErrNoList)
	if !missing || strings.HasPrefix(name, "localhost/") {
		return text, err
	}
	text, lookErr := pullimage.Look(ctx, s, bare([]string{name})[0])
	if lookErr != nil {
		return nil, fmt.Errorf("%w, and it can't be read from a registry: %w", err, lookErr)
	}
	return text, nil
}

func newManifestRmCmd(env command.Env) *cobra.Command {
	var o manifestOptions
	ignore := false
	cmd := &cobra.Command{
		Use:   "rm [flags] LIST...",
		Short: "Remove manifest lists",
		Long: `Remove manifest lists. Images that have names of their own stay; those that only the list leads to go with it, as with
cooper rmi.`,
		Args: words(1, 0, "the lists to remove"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := command.Enter(cmd.Context(), env); err != nil {
				return err
			}
			s := imagenames.Open(o.store)
			for _, name := range args {
				_, err := manifestlist.Inspect(cmd.Context(), s, name)
				if err != nil && !(ignore && errors.Is(err, catalog.ErrNoImage)) {
					return imagenames.Finish(s, err, args...)
				}
			}
			err := imagecmd.RemoveImages(cmd.Context(), env, s, catalog.RemoveRequest{Images: args, Ignore: ignore})
			return imagenames.Finish(s, err, args...)
		},
		ValidArgsFunction: imagenames.Complete(&o.store, 0),
	}
	cmd.Flags().BoolVarP(&ignore, "ignore", "i", false, "lists that aren't there are no error")
	command.AddStoreFlags(cmd.Flags(), &o.store)
	return cmd
}

// newManifestPushCmd is push, with podman's flags for lists.
func newManifestPushCmd(env command.Env) *cobra.Command {
	cmd := imagecmd.NewPushCmd(env)
	cmd.Use, cmd.Short = "push [flags] LIST [DESTINATION...]", "Push a manifest list and its images to registries"
	cmd.Long = `Push a manifest list and its images to registries, as cooper push does. Each DESTINATION is REGISTRY/NAME[:TAG]; without
one the list goes where its name says. All images of the list are pushed.`
	cmd.Example = "  cooper manifest push app:1 registry.example.com/team/app:1"
	f := cmd.Flags()
	alias(f, "purge,p", "rm", true)
	alias(f, "insecure", "tls-verify", false)
	command.Refuse(f, "the images of a list are pushed as they are\nhint: cooper push --platform P --compression-format F "+
		"pushes one of another compression, and cooper manifest add takes it", "add-compression")
	f.Lookup("rm").Usage = "remove the list from the store when it is pushed"
	return cmd
}

// alias adds docker's name for another flag, which has the value same if the alias is given.
func alias(f *pflag.FlagSet, name, of string, same bool) {
	long, short, _ := strings.Cut(name, ",")
	f.BoolFuncP(long, short, fmt.Sprintf("the same as --%s=%t", of, same), func(text string) error {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return errors.New("must be true or false")
		}
		return f.Set(of, strconv.FormatBool(on == same))
	})
}

// describe adds the flags for what a list tells of an image.
func (o *manifestOptions) describe(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.change.OS, "os", "", "operating system of the image")
	f.StringVar(&o.change.Arch, "arch", "", "architecture of the image")
	f.StringVar(&o.change.Variant, "variant", "", "variant of the architecture")
	f.StringVar(&o.change.OSVersion, "os-version", "", "version of the operating system")
	f.StringSliceVar(&o.osFeatures, "os-features", nil, "features that the image needs of the operating system")
	f.StringSliceVar(&o.features, "features", nil,
		"features that the image needs of the processor, which makes the list one of docker's format")
	f.StringArrayVar(&o.annotations, "annotation", nil, "annotation of the image's entry, KEY=VALUE")
}

// reach adds the flags for the store and for images that are pulled.
func (o *manifestOptions) reach(cmd *cobra.Command) {
	f := cmd.Flags()
	o.Add(f)
	command.AddStoreFlags(f, &o.store)
}

// run changes a list and prints its ID.
func (o *manifestOptions) run(ctx context.Context, env command.Env, names []string,
	change func(context.Context, *build.Session) (id string, err error)) (err error) {
	if o.change.Annotations, err = command.ParsePairs("--annotation", o.annotations); err != nil {
		return err
	}
	o.change.OSFeatures, o.change.Features = o.osFeatures, o.features
	if err := build.CheckName(names[0]); err != nil && !strings.Contains(names[0], "@") {
		return command.Usage(err)
	}
	reach, err := o.Enter(ctx, env)
	if err != nil {
		return err
	}
	s := build.NewSession(build.SessionOptions{Store: o.store, Registry: reach})
	id, err := change(ctx, s)
	if err := imagenames.Finish(s, err, names...); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Out(), id)
	return err
}

// bare are names of images without podman's transports: each is looked for in the store first, and then in its
// registry.
func bare(names []string) (all []string) {
	for _, n := range names {
		all = append(all, strings.TrimPrefix(strings.TrimPrefix(n, "docker://"), "containers-storage:"))
	}
	return all
}

// fetch pulls the images that the store doesn't have, and with --all the indexes of names with docker:// in any case:
// the store may have one image of such an index under the name.
func (o *manifestOptions) fetch(ctx context.Context, env command.Env, s *build.Session, names []string) (err error) {
	renderer := show.New(show.ModeAuto, env.Stderr)
	defer func() { err = errors.Join(err, renderer.Close()) }()
	for i, name := range bare(names) {
		there, err := catalog.Has(ctx, s, name)
		if err != nil || there && (!o.all || !strings.HasPrefix(names[i], "docker://")) {
			if err != nil {
				return err
			}
			continue
		}
		req := pullimage.Request{Image: name, AllPlatforms: o.all, Progress: renderer}
		if o.all {
			req.Policy = build.PullAlways // or an earlier variant in the store would do for a later one
		}
		if _, err := pullimage.Pull(ctx, s, req); err != nil {
			return err
		}
	}
	return nil
}
