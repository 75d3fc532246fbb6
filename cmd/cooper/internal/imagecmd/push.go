package imagecmd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildflags"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress/show"
)

// pushOptions are the flags of push.
type pushOptions struct {
	allTags, quiet, force bool
	removeSignatures      bool
	uncompressed, remove  bool
	platform, format      string
	compression, level    string
	command.RegistryFlags
	digestFile, progress string
	store                build.StoreOptions
	// to are the registries that the image goes to, files the files and directories.
	to    []string
	files []export.Spec
}

// NewPushCmd makes the command push.
func NewPushCmd(env command.Env) *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push [flags] IMAGE [DESTINATION...]",
		Short: "Push an image of the local store to registries",
		Long: `Push an image of the local store, or an index with its images, to registries.

IMAGE is a name or an ID. Each DESTINATION is REGISTRY/NAME[:TAG], or a file or directory in podman's words:
oci-archive:FILE, docker-archive:FILE, oci:DIR or dir:DIR; without one the image goes where its name says.
Blobs that a registry has are not sent, and those that another repository of it has are mounted. Layers of a base image
leave as they were pulled. The tag comes last: it never leads to an image that isn't there whole.
The digest of each manifest is printed on standard output, progress on standard error.`,
		Example: `  cooper push registry.example.com/team/app:1
  cooper push app registry.example.com/team/app:1 registry.example.com/team/app:latest
  cooper push --compression-format zstd --digestfile app.digest app registry.example.com/team/app:1`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return command.Usagef(
					"push takes an image and where it goes, got nothing\nhint: cooper push IMAGE REGISTRY/NAME:TAG")
			case o.allTags && len(args) > 1:
				return command.Usagef("--all-tags takes one argument, got %d", len(args))
			}
			return o.places(args[1:])
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runPush(cmd, env, &o, args) },
		ValidArgsFunction: imagenames.Complete(&o.store, 1),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.allTags, "all-tags", "a", false, "push all tags that the image's repository has in the store")
	f.StringVar(&o.platform, "platform", "", "push one image of an index, OS/ARCH[/VARIANT] (default the index)")
	f.StringVarP(&o.format, "format", "f", "", "format of the manifest: oci or docker (default that of the image)")
	f.StringVar(&o.compression, "compression-format", "gzip",
		"how layers are compressed: gzip, zstd, zstd:chunked, estargz or uncompressed")
	f.StringVar(&o.level, "compression-level", "", "1 to 9 for gzip (default 6), 1 to 22 for zstd (default 3)")
	f.BoolVar(&o.force, "force-compression", false,
		"compress layers of base images anew that were pulled compressed otherwise")
	f.StringVar(&o.digestFile, "digestfile", "", "write the digest of the manifest to this file")
	f.BoolVar(&o.removeSignatures, "remove-signatures", false, "push no signatures, which is always so")
	f.BoolVarP(&o.uncompressed, "disable-compression", "D", false, "the same as --compression-format=uncompressed")
	f.BoolVar(&o.remove, "rm", false, "remove the image from the store when it is pushed")
	command.Accept(f, "layers are compressed unless --disable-compression is given", "compress")
	command.Accept(f, "the images of an index are pushed with it", "all")
	command.Accept(f, "policy.json says which images are trusted", "disable-content-trust")
	command.Refuse(f, "cooper makes no signatures\nhint: skopeo copy makes them", "sign-by", "sign-by-sigstore",
		"sign-by-sigstore-private-key", "sign-passphrase-file")
	command.Refuse(f, "cooper doesn't encrypt images\nhint: skopeo copy does", "encryption-key", "encrypt-layer")
	o.AddRetries(f, "to push")
	o.Add(f)
	command.AddStoreFlags(f, &o.store)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but errors and the digest")
	f.StringVar(&o.progress, "progress", "",
		"how to show progress: auto, tty, plain, quiet, json or rawjson (default auto)")
	return cmd
}

// places reads where the image goes.
func (o *pushOptions) places(given []string) error {
	o.to, o.files = nil, nil
	for _, text := range given {
		spec, isFile, err := buildflags.FilePlace(text)
		switch {
		case strings.HasPrefix(text, "docker-daemon:"):
			return command.Usagef("%s: cooper speaks with no daemon\nhint: cooper save IMAGE | docker load", text)
		case err != nil:
			return command.Usagef("%s: %w", text, err)
		case isFile:
			o.files = append(o.files, spec)
		default:
			if err := build.CheckPushName(text); err != nil {
				return command.Usage(err)
			}
			o.to = append(o.to, text)
		}
	}
	if len(o.files) > 0 && o.digestFile != "" {
		return command.Usagef("--digestfile is for registries\nhint: cooper inspect --format '{{.Digest}}' IMAGE")
	}
	return nil
}

// save writes the image to the files among its destinations.
func (o *pushOptions) save(ctx context.Context, s *build.Session, req build.PushRequest) error {
	for _, spec := range o.files {
		if spec.Type == export.TypeOCI {
			spec.Compression, spec.Level, spec.Force = req.Spec.Compression, req.Spec.Level, req.Spec.Force
		}
		err := archives.Save(ctx, s, archives.SaveRequest{Images: []string{req.Image}, Names: spec.Names, Spec: spec,
			Platform: req.Platform, Progress: req.Progress})
		if err != nil {
			return err
		}
	}
	return nil
}

// request makes a request of the flags; every error is a usage error.
func (o *pushOptions) request(args []string) (build.PushRequest, error) {
	req := build.PushRequest{
		Image: args[0], To: o.to, AllTags: o.allTags,
		Spec: export.Spec{Type: export.TypeRegistry, Compression: export.Compression(o.compression), Force: o.force,
			Push: &export.PushSpec{}},
	}
	if o.uncompressed {
		req.Spec.Compression = export.Uncompressed
	}
	if o.level != "" {
		level, err := strconv.Atoi(o.level)
		if err != nil || level == 0 {
			return req, command.Usagef("--compression-level=%s: must be a number from 1", o.level)
		}
		req.Spec.Level = level
	}
	var err error
	if req.Spec.Push.Format, err = pushFormat(o.format); err != nil {
		return req, err
	}
	if err := req.Spec.Check(); err != nil {
		return req, command.Usage(err)
	}
	req.Platform, err = onePlatform(o.platform)
	return req, err
}

// pushFormat reads --format, which isn't the variable's business here: the image has a format already.
func pushFormat(text string) (build.Format, error) {
	if text == "" {
		return "", nil
	}
	format, err := build.ParseFormat(text)
	if err != nil {
		return "", command.Usagef("--format: %w", err)
	}
	return format, nil
}

func runPush(cmd *cobra.Command, env command.Env, o *pushOptions, args []string) error {
	req, err := o.request(args)
	if err != nil {
		return err
	}
	mode, err := modeOf(o.progress, o.quiet)
	if err != nil {
		return err
	}
	reach, err := o.Enter(cmd.Context(), env)
	if err != nil {
		return err
	}
	renderer := show.New(mode, env.Stderr)
	req.Progress = renderer
	s := build.NewSession(build.SessionOptions{Store: telling(o.store, renderer), Registry: reach})
	err = o.save(cmd.Context(), s, req)
	var res build.Pushed
	if err == nil && (len(o.to) > 0 || len(o.files) == 0) {
		res, err = build.Push(cmd.Context(), s, req)
	}
	if err == nil && o.remove {
		err = catalog.Remove(cmd.Context(), s, catalog.RemoveRequest{Images: args[:1]})
	}
	if err := errors.Join(imagenames.Finish(s, err, args[0]), renderer.Close()); err != nil {
		return err
	}
	last := ""
	for _, d := range res.Manifests {
		if text := d.String(); text != last {
			if _, err := fmt.Fprintln(env.Out(), text); err != nil {
				return err
			}
			last = text
		}
	}
	if o.digestFile != "" {
		if err := outfile.WriteFile(cmd.Context(), o.digestFile, []byte(last)); err != nil {
			return fmt.Errorf("--digestfile: %w", err)
		}
	}
	return nil
}
