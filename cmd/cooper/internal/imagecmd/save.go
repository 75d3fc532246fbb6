package imagecmd

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// saveOptions are the flags of save.
type saveOptions struct {
	output, format, platform, progress                    string
	compress, uncompressed, multiple, quiet, allPlatforms bool
	store                                                 build.StoreOptions
}

// The formats of save.
const (
	dockerArchive = "docker-archive"
	dockerDir     = "docker-dir"
	ociArchive    = "oci-archive"
	ociDir        = "oci-dir"
)

func saveFormats() []string { return []string{dockerArchive, dockerDir, ociArchive, ociDir} }

func newSaveCmd(env command.Env) *cobra.Command {
	var o saveOptions
	cmd := &cobra.Command{
		Use:   "save [flags] IMAGE...",
		Short: "Save images to a file or directory",
		Long: `Save images to a file or directory that cooper load, docker load, podman load and skopeo read. Each IMAGE keeps the
names that are given; one that is given by its ID has none. Layers that several images have are written once.

Formats: docker-archive, for docker load as well; oci-archive and oci-dir, an OCI layout, with layers compressed unless
--uncompressed is given; docker-dir, the directory of skopeo's dir: transport, for one image.`,
		Example: `  cooper save -o app.tar app
  cooper save app:1 app:2 | ssh host podman load
  cooper save --format oci-archive -o app.oci.tar app`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Usagef("save takes the images to save, got nothing\nhint: cooper images lists them")
			}
			if o.allPlatforms && (len(args) > 1 || o.platform != "") {
				return command.Usagef("--all-platforms takes one index, and no --platform")
			}
			_, err := o.spec()
			return err
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runSave(cmd, env, &o, args) },
		ValidArgsFunction: imagenames.Complete(&o.store, 0),
	}
	f := cmd.Flags()
	f.StringVarP(&o.output, "output", "o", "", "file or directory to write (default standard output)")
	f.StringVar(&o.format, "format", dockerArchive, "what to write: "+strings.Join(saveFormats(), ", "))
	f.StringVar(&o.platform, "platform", "", "which image of an index to save, OS/ARCH[/VARIANT] (default this machine's)")
	f.BoolVar(&o.allPlatforms, "all-platforms", false, "save an index with all its images, to an oci-archive or oci-dir")
	f.BoolVar(&o.compress, "compress", false, "compress the layers of a docker-dir with gzip")
	f.BoolVar(&o.uncompressed, "uncompressed", false, "don't compress the layers of an oci-archive or oci-dir")
	f.BoolVarP(&o.multiple, "multi-image-archive", "m", false, "take all arguments for images, which is always so")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but errors")
	f.StringVar(&o.progress, "progress", "",
		"how to show progress: auto, tty, plain, quiet, json or rawjson (default auto)")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// spec is what is to be written; every error is a usage error.
func (o *saveOptions) spec() (export.Spec, error) {
	spec := export.Spec{Dest: o.output}
	if o.output == "" {
		spec.Dest = export.Stdout
	}
	switch o.format {
	case dockerArchive:
		spec.Type = export.TypeDocker
	case dockerDir:
		spec.Type = export.TypeDir
	case ociArchive:
		spec.Type = export.TypeOCI
	case ociDir:
		spec.Type, spec.Directory = export.TypeOCI, true
	default:
		return spec, command.Usagef("--format=%s: must be one of %s", o.format, strings.Join(saveFormats(), ", "))
	}
	switch {
	case o.allPlatforms && spec.Type != export.TypeOCI:
		return spec, command.Usagef("--all-platforms is for --format=oci-archive and oci-dir: %s has room for one platform",
			o.format)
	case o.compress && o.format != dockerDir:
		return spec, command.Usagef("--compress is for --format=docker-dir")
	case o.uncompressed && spec.Type != export.TypeOCI:
		return spec, command.Usagef("--uncompressed is for --format=oci-archive and oci-dir")
	case o.compress:
		spec.Compression = export.Gzip
	case o.uncompressed:
		spec.Compression = export.Uncompressed
	}
	if spec.Dest == export.Stdout && slices.Contains([]string{dockerDir, ociDir}, o.format) {
		return spec, command.Usagef("--format=%s is a directory: say which with --output", o.format)
	}
	return spec, nil
}

func runSave(cmd *cobra.Command, env command.Env, o *saveOptions, args []string) error {
	spec, err := o.spec()
	if err != nil {
		return err
	}
	platform, err := onePlatform(o.platform)
	if err != nil {
		return err
	}
	if spec.Dest == export.Stdout && terminal.Is(env.Stdout) {
		return command.Usagef(
			"standard output is a terminal, which shows no archive\nhint: cooper save -o FILE, or redirect it")
	}
	mode, err := modeOf(o.progress, o.quiet)
	if err != nil {
		return err
	}
	if err := command.Enter(cmd.Context(), env); err != nil {
		return err
	}
	renderer := show.New(mode, env.Stderr)
	s := imagenames.Open(telling(o.store, renderer))
	err = archives.Save(cmd.Context(), s, archives.SaveRequest{
		Images: args, Spec: spec, Platform: platform, AllPlatforms: o.allPlatforms, Stdout: env.Stdout, Progress: renderer,
	})
	err = errors.Join(imagenames.Finish(s, err, args...), renderer.Close())
	if errors.Is(err, export.ErrNotLayout) {
		return fmt.Errorf("%w\nhint: give a new directory", err)
	}
	return err
}

// modeOf reads --progress and --quiet.
func modeOf(text string, quiet bool) (show.Mode, error) {
	mode, err := show.ParseMode(text)
	if err != nil {
		return mode, command.Usage(err)
	}
	if quiet {
		mode = show.ModeQuiet
	}
	return mode, nil
}

// telling are options of a store that tells on the renderer what a user should know.
func telling(store build.StoreOptions, to progress.Sink) build.StoreOptions {
	store.Tell = progress.Tell(to)
	return store
}
