package imagecmd

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	format, kind, platform string
	size                   bool
	store                  build.StoreOptions
}

func newInspectCmd(env command.Env) *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect [flags] IMAGE...",
		Short: "Show all that is known of images",
		Long: `Show all that is known of images as JSON, with the names and types that docker and podman give it: config, layers,
history, names and digests. Of an index it is the image for this machine's platform, or for --platform.

A --format is json or a Go template for each image. Fields: .Id .Digest .RepoTags .RepoDigests .Comment .Created .Config
.Author .Architecture .Variant .Os .Size .GraphDriver .RootFS .Labels .Annotations .ManifestType .User .History
.NamesHistory .Healthcheck.`,
		Example: `  cooper inspect app
  cooper inspect --format '{{.Config.Env}}' app
  cooper inspect --format '{{index .Config.Labels "org.example.team"}}' app
  cooper inspect --format '{{json .RootFS.Layers}}' app:1 app:2`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return command.Usagef("inspect takes the images to show, got nothing\nhint: cooper images lists them")
			case o.kind == "container" || o.kind == "volume" || o.kind == "network" || o.kind == "pod":
				return command.Usagef("--type=%s: cooper has images only\nhint: podman inspect --type=%[1]s", o.kind)
			case o.kind != "image" && o.kind != "all":
				return command.Usagef("--type=%s: must be image or all, which is the same here", o.kind)
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runInspect(cmd.Context(), env, &o, args) },
		ValidArgsFunction: completeNames(&o.store, 0),
	}
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "f", "json", "json or a Go template")
	f.StringVarP(&o.kind, "type", "t", "all", "what to look for: image, or all, which is the same here")
	f.StringVar(&o.platform, "platform", "", "which image of an index to show, OS/ARCH[/VARIANT] (default this machine's)")
	f.BoolVarP(&o.size, "size", "s", false, "show sizes, which is always so")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// onePlatform reads a --platform that names one platform; nil: there is no flag.
func onePlatform(text string) (*ocispec.Platform, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // the flag need not be given
	}
	all, err := build.ParsePlatforms([]string{text})
	if err != nil {
		return nil, command.Usage(err)
	}
	if len(all) != 1 {
		return nil, command.Usagef("--platform=%s: must be one platform", text)
	}
	return &all[0], nil
}

func runInspect(ctx context.Context, env command.Env, o *inspectOptions, args []string) error {
	l, err := command.ReadLayout[catalog.Description](o.format)
	if err != nil {
		return err
	}
	platform, err := onePlatform(o.platform)
	if err != nil {
		return err
	}
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	s := open(o.store)
	all := []catalog.Description{}
	var errs []error
	for _, name := range args {
		d, err := catalog.Inspect(ctx, s, name, platform)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, d)
	}
	err = finish(s, errors.Join(errs...), args...)
	return errors.Join(err, writeInspected(env, l, all))
}

// writeInspected writes what was found, even if there are images that were not.
func writeInspected(env command.Env, l command.Layout, all []catalog.Description) error {
	var err error
	if l.JSON() {
		err = command.WriteIndented(env.Out(), all)
	} else {
		err = command.WriteRows(env.Out(), l, true, all)
	}
	if err != nil {
		return fmt.Errorf("write what was found: %w", err)
	}
	return nil
}
