package workcmd

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/manifestlist"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// commitOptions are the flags of commit.
type commitOptions struct {
	verb
	command.RegistryFlags
	squash, rm, quiet, omitHistory, identity bool
	format, iidFile, manifest                string
	timestamp, sourceDate                    string
	unsetEnv, annotations                    []string
	compression                              bool
}

// identityLabel is the label that --identity-label adds.
const identityLabel = "io.cooper.version"

func newCommitCmd(env command.Env) *cobra.Command {
	o := &commitOptions{verb: verb{env: env}}
	cmd := &cobra.Command{
		Use:   "commit [flags] CONTAINER [IMAGE]",
		Short: "Make an image of a working container",
		Long: `Make an image of a working container and print its ID. What the container has on its base image becomes one layer. The
container stays as it is, unless --rm is given.

IMAGE is the name that the image gets in the store, or docker://NAME to push it to a registry, or
docker-archive:FILE[:NAME], oci-archive:FILE[:TAG], oci:DIRECTORY[:TAG] or dir:DIRECTORY to write it to a file or
directory. Without one the image has no name.`,
		Example: `  cooper commit $c app:1
  cooper commit --rm --iidfile app.id $c app
  cooper commit $c docker://registry.example.com/team/app:1
  cooper commit --timestamp 0 $c oci-archive:app.tar:1`,
		Args: usage(1, 2, "a container, and where its image goes"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.do(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.squash, "squash", false, "make one layer of all, those of the base image too")
	f.BoolVar(&o.rm, "rm", false, "remove the container when its image is made")
	f.StringVarP(&o.format, "format", "f", "", "format of the manifest: oci or docker (default that of the container)")
	f.StringVar(&o.iidFile, "iidfile", "", "write the image's ID to this file instead of standard output")
	f.StringVar(&o.manifest, "manifest", "", "add the image to this manifest list, which is made if it isn't there")
	f.StringVar(&o.timestamp, "timestamp", "", "time of all files and records of the image, in seconds since 1970")
	f.StringVar(&o.sourceDate, "source-date-epoch", "",
		"latest time that files and records of the image have, in seconds since 1970 (default $SOURCE_DATE_EPOCH)")
	f.BoolVar(&o.omitHistory, "omit-history", false, "make an image without a history")
	f.StringSliceVar(&o.unsetEnv, "unsetenv", nil, "variable that the image hasn't got")
	f.StringArrayVar(&o.annotations, "annotation", nil, "annotation of the manifest, KEY=VALUE")
	f.BoolVar(&o.identity, "identity-label", false, "give the image the label "+identityLabel+", the version of cooper")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but errors and the ID")
	f.BoolVarP(&o.compression, "disable-compression", "D", true,
		"without effect: layers are compressed where they leave the store")
	f.Lookup("disable-compression").Hidden = true
	registerForeign(f)
	o.RegistryFlags.Add(f)
	o.registry = &o.RegistryFlags
	command.AddStoreFlags(f, &o.store)
	return cmd
}

// registerForeign adds flags of buildah's commit that change nothing here, or that are refused.
func registerForeign(f *pflag.FlagSet) {
	command.Accept(f, "the base image is there, and a date counts for all files", "pull", "rewrite-timestamp")
	command.Refuse(f, "cooper makes no signatures\nhint: skopeo copy makes them", "sign-by")
	command.Refuse(f, "cooper doesn't encrypt images\nhint: skopeo copy does", "encryption-key", "encrypt-layer")
	command.Refuse(f, "layers in the store are not compressed\nhint: cooper push has the flag", "compression-format",
		"compression-level",
		"force-compression")
	command.Refuse(f, "commit takes the container as it is\nhint: cooper config and cooper copy change it before",
		"add-file",
		"change", "config")
	command.Refuse(f, "images for confidential virtual machines are not made\nhint: buildah mkcw makes one", "cw")
}

// destination is where an image goes besides the store.
type destination struct {
	// name is the full name in the store; empty: none.
	name string
	// push is the name in a registry; empty: it isn't pushed.
	push string
	// file is what is written; its type is empty if nothing is.
	file export.Spec
}

// destinationOf reads the word that says where an image goes.
func destinationOf(text string) (d destination, err error) {
	kind, rest, _ := strings.Cut(text, ":")
	switch kind {
	case "docker":
		if d.push = strings.TrimPrefix(rest, "//"); d.push == rest {
			break // an image named docker
		}
		if err := build.CheckPushName(d.push); err != nil {
			return d, command.Usage(err)
		}
		return d, nil
	case "docker-archive":
		d.file = export.Spec{Type: export.TypeDocker}
	case "oci-archive":
		d.file = export.Spec{Type: export.TypeOCI}
	case "oci":
		d.file = export.Spec{Type: export.TypeOCI, Directory: true}
	case "dir":
		d.file = export.Spec{Type: export.TypeDir, Dest: rest}
		return d, checkDest(text, rest)
	case "docker-daemon":
		return d, command.Usagef(
			"%s: cooper speaks with no daemon\nhint: commit to docker-archive:FILE, and docker load -i FILE", text)
	case "containers-storage":
		text = rest
	}
	if d.file.Type != "" {
		var name string
		d.file.Dest, name, _ = strings.Cut(rest, ":")
		if name != "" {
			d.file.Names = []string{nameIn(d.file, name)}
		}
		return d, checkDest(text, d.file.Dest)
	}
	d.push = ""
	if err := build.CheckName(text); err != nil {
		return d, command.Usage(err)
	}
	d.name = build.FullName(text)
	return d, nil
}

// nameIn is the name of an image in a file. In layouts other tools know it by the tag alone, which stands for itself.
func nameIn(file export.Spec, name string) string {
	if file.Type == export.TypeDocker || strings.ContainsAny(name, ":/") {
		return name
	}
	base, _, _ := strings.Cut(filepath.Base(file.Dest), ".")
	if full := "localhost/" + base; build.CheckName(full) == nil {
		return full + ":" + name
	}
	return "localhost/image:" + name
}

func checkDest(text, dest string) error {
	if dest == "" {
		return command.Usagef("%s: must name a file or directory", text)
	}
	return nil
}

// image is what becomes of the container.
func (o *commitOptions) image(to destination) (img working.Image, err error) {
	img = working.Image{Squash: o.squash, OmitHistory: o.omitHistory, UnsetEnv: o.unsetEnv}
	if to.name != "" {
		img.Names = []string{to.name}
	}
	if o.format != "" {
		if img.Format, err = build.ParseFormat(o.format); err != nil {
			return img, command.Usagef("--format: %w", err)
		}
	}
	if o.identity {
		img.Labels = map[string]string{identityLabel: o.env.Version}
	}
	img.Annotations, err = command.ParsePairs("--annotation", o.annotations)
	return img, err
}

func (o *commitOptions) do(ctx context.Context, args []string) error {
	var to destination
	var err error
	if len(args) > 1 {
		if to, err = destinationOf(args[1]); err != nil {
			return err
		}
	}
	img, err := o.image(to)
	if err != nil {
		return err
	}
	date, err := working.ParseDate(o.timestamp, o.sourceDate)
	if err != nil {
		return command.Usage(err)
	}
	o.mode = show.ModeAuto
	if o.quiet {
		o.mode = show.ModeQuiet
	}
	return o.run(ctx, func(s *build.Session, sink progress.Sink) error {
		c, err := working.Open(ctx, s, args[0], sink)
		if err != nil {
			return withNearest(ctx, s, err, args[0])
		}
		made, err := c.Commit(ctx, working.Options{Date: date}, img)
		if err == nil {
			err = o.send(ctx, s, sink, to, made.ID.Encoded())
		}
		if err == nil && o.rm {
			err = c.Remove()
		}
		if err = errors.Join(err, c.Close()); err != nil {
			return err
		}
		if o.iidFile == "" {
			return o.print(made.ID.Encoded())
		}
		if err := outfile.WriteFile(ctx, o.iidFile, []byte(made.ID.String())); err != nil {
			return hinted(err, "--iidfile must be a file that can be written")
		}
		return nil
	})
}

// send brings an image to where it goes besides the store.
func (o *commitOptions) send(ctx context.Context, s *build.Session, to progress.Sink, d destination, id string) error {
	if o.manifest != "" {
		if _, err := manifestlist.Add(ctx, s, o.manifest, []string{id}, manifestlist.AddOptions{Create: true}); err != nil {
			return err
		}
	}
	switch {
	case d.push != "":
		_, err := build.Push(ctx, s, build.PushRequest{Image: id, To: []string{d.push}, Progress: to,
			Spec: export.Spec{Type: export.TypeRegistry, Push: &export.PushSpec{}}})
		return err
	case d.file.Type != "":
		return archives.Save(ctx, s, archives.SaveRequest{Images: []string{id}, Names: d.file.Names, Spec: d.file,
			Progress: to})
	}
	return nil
}
