package imagecmd

import (
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/workcmd"
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
		Use:   "inspect [flags] IMAGE|CONTAINER...",
		Short: "Show all that is known of images and working containers",
		Long: `Show all that is known of images as JSON, with the names and types that docker and podman give it: config, layers,
history, names and digests. Of an index it is the image for this machine's platform, or for --platform. Of a working
container, and of images as well if cooper is called buildah, it is one object with the names that buildah gives it; a
name that both have is the container's.

A --format is json or a Go template for each image. Fields: .Id .Digest .RepoTags .RepoDigests .Comment .Created .Config
.Author .Architecture .Variant .Os .Size .GraphDriver .RootFS .Labels .Annotations .ManifestType .User .History
.NamesHistory .Healthcheck .DockerVersion .Descriptor. Of a working container: .FromImage .FromImageID .Container
.ContainerID .MountPoint .OCIv1 .Docker .ImageAnnotations .History and others.`,
		Example: `  cooper inspect app
  cooper inspect --format '{{.Config.Env}}' app
  cooper inspect --format '{{index .Config.Labels "org.example.team"}}' app
  cooper inspect --format '{{json .RootFS.Layers}}' app:1 app:2
  cooper inspect --type container --format '{{.OCIv1.Config.Cmd}}' $c`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return command.Usagef("inspect takes the images to show, got nothing\nhint: cooper images lists them")
			case o.kind == "volume" || o.kind == "network" || o.kind == "pod":
				return command.Usagef("--type=%s: cooper has images and working containers only\nhint: podman inspect --type=%[1]s",
					o.kind)
			case o.kind != "image" && o.kind != "container" && o.kind != "all":
				return command.Usagef("--type=%s: must be image, container or all", o.kind)
			}
			return nil
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runInspect(cmd.Context(), env, &o, args) },
		ValidArgsFunction: imagenames.Complete(&o.store, 0),
	}
	f := cmd.Flags()
	f.StringVarP(&o.format, "format", "f", "json", "json or a Go template")
	f.StringVarP(&o.kind, "type", "t", "all", "what to look for: image, container, or all")
	f.StringVar(&o.platform, "platform", "", "which image of an index to show, OS/ARCH[/VARIANT] (default this machine's)")
	f.BoolVarP(&o.size, "size", "s", false, "show sizes, which is always so")
	command.Refuse(f, "no container is the latest\nhint: cooper containers lists working containers", "latest,l")
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
	other, otherErr := command.ReadLayout[working.Info](o.format)
	if err != nil && otherErr != nil {
		return err
	}
	platform, platformErr := onePlatform(o.platform)
	if platformErr != nil {
		return platformErr
	}
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	s := imagenames.Open(o.store)
	all, containers := []catalog.Description{}, []working.Info{}
	var errs []error
	for _, name := range args {
		info, is, err := workcmd.Inspected(ctx, env, s, workcmd.Named{Name: name, Kind: o.kind})
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case is:
			containers = append(containers, info)
			continue
		}
		d, err := catalog.Inspect(ctx, s, name, platform)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, d)
	}
	found := imagenames.Finish(s, errors.Join(errs...), args...)
	if len(containers) > 0 {
		found = errors.Join(found, otherErr, workcmd.WriteInspected(env, other, containers))
		if len(all) == 0 {
			return found
		}
	}
	if err != nil {
		return errors.Join(found, err)
	}
	return errors.Join(found, writeInspected(env, l, all))
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
