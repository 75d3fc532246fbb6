package manifestcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/catalog"
	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/manifestlist"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/build/pullimage"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
)

// NewImagetoolsCmd is docker buildx imagetools: images that stay in their registries.
func NewImagetoolsCmd(env command.Env) *cobra.Command {
	cmd := &cobra.Command{
		Use: "imagetools", Short: "Look at images in registries, and join them to indexes",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Usagef("unknown command %q of imagetools: there are create and inspect", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newToolsInspectCmd(env), newToolsCreateCmd(env))
	return cmd
}

// toolsOptions are the flags of the commands below imagetools.
type toolsOptions struct {
	raw, dryRun, append bool
	format              string
	tags, files         []string
	annotations         []string
	command.RegistryFlags
	store build.StoreOptions
}

func newToolsInspectCmd(env command.Env) *cobra.Command {
	var o toolsOptions
	cmd := &cobra.Command{
		Use: "inspect [flags] NAME", Short: "Show what a registry has under a name",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var text []byte
			err := o.run(cmd.Context(), env, args, func(ctx context.Context, s *build.Session) (err error) {
				text, err = pullimage.Look(ctx, s, bare(args)[0])
				return err
			})
			if err != nil {
				return err
			}
			return o.write(env, args[0], text)
		},
	}
	cmd.Flags().BoolVar(&o.raw, "raw", false, "show the JSON as it is")
	cmd.Flags().StringVar(&o.format, "format", "", "a template with .Name and .Manifest")
	o.reach(cmd)
	return cmd
}

// toolsRow is what a template of inspect is given.
type toolsRow struct {
	Name     string
	Manifest toolsManifest
}

// toolsManifest is a manifest or an index, and its descriptor.
type toolsManifest struct {
	MediaType     string               `json:"mediaType"`
	Digest        digest.Digest        `json:"digest"`
	Size          int                  `json:"size"`
	SchemaVersion int                  `json:"schemaVersion,omitempty"`
	Manifests     []ocispec.Descriptor `json:"manifests,omitempty"`
	Annotations   map[string]string    `json:"annotations,omitempty"`
}

// write shows a manifest or an index.
func (o *toolsOptions) write(env command.Env, name string, text []byte) error {
	if o.raw {
		_, err := env.Out().Write(text)
		return err
	}
	row := toolsRow{Name: name}
	if err := json.Unmarshal(text, &row.Manifest); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	row.Manifest.Digest, row.Manifest.Size = digest.FromBytes(text), len(text)
	if o.format != "" {
		layout, err := command.ReadLayout[toolsRow](o.format)
		if err != nil {
			return err
		}
		if layout.JSON() {
			return command.WriteIndented(env.Out(), row)
		}
		return command.WriteRows(env.Out(), layout, true, []toolsRow{row})
	}
	m := row.Manifest
	fmt.Fprintf(env.Out(), "Name:      %s\nMediaType: %s\nDigest:    %s\n", name, command.Printable(m.MediaType), m.Digest)
	if len(m.Manifests) > 0 {
		fmt.Fprintln(env.Out(), "\nManifests:")
	}
	for _, d := range m.Manifests {
		fmt.Fprintf(env.Out(), "  Digest:    %s\n  MediaType: %s\n", command.Printable(d.Digest.String()),
			command.Printable(d.MediaType))
		if p := d.Platform; p != nil {
			fmt.Fprintf(env.Out(), "  Platform:  %s\n", command.Printable(p.OS+"/"+p.Architecture+variant(p.Variant)))
		}
		fmt.Fprintln(env.Out())
	}
	return nil
}

func variant(text string) string {
	if text == "" {
		return ""
	}
	return "/" + text
}

func newToolsCreateCmd(env command.Env) *cobra.Command {
	var o toolsOptions
	cmd := &cobra.Command{
		Use: "create [flags] SOURCE...", Short: "Make an index of images and push it",
		Long: `Make an index of images, which come from their registries or from the store, and push it under each --tag. Without
effect on the store but for images that it lacks, which are pulled.`,
		Example: `  cooper buildx imagetools create -t registry.example.com/app:1 \
    registry.example.com/app:amd64 registry.example.com/app:arm64`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.create(cmd.Context(), env, args) },
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.tags, "tag", "t", nil, "name to push the index as; may be repeated")
	f.BoolVar(&o.dryRun, "dry-run", false, "print the index and push nothing")
	f.BoolVar(&o.append, "append", false, "add the images to the index that the first --tag names")
	f.StringArrayVarP(&o.files, "file", "f", nil, "file with the name of a source")
	f.StringArrayVar(&o.annotations, "annotation", nil, "annotation of the index, [index:]KEY=VALUE")
	f.String("progress", "", "without effect")
	o.reach(cmd)
	return cmd
}

// create joins images to an index, which has a name of its own in the store while it is pushed.
func (o *toolsOptions) create(ctx context.Context, env command.Env, sources []string) error {
	for _, name := range o.tags {
		if err := build.CheckName(name); err != nil {
			return command.Usagef("--tag: %w", err)
		}
	}
	sources, annotations, err := o.sources(sources)
	if err != nil {
		return err
	}
	return o.run(ctx, env, sources, func(ctx context.Context, s *build.Session) (err error) {
		list := manifestOptions{all: true}
		if err := list.fetch(ctx, env, s, sources); err != nil {
			return err
		}
		name := fmt.Sprintf("localhost/cooper-imagetools:%d-%d", os.Getpid(), time.Now().UnixNano())
		_, err = manifestlist.Create(ctx, s, name, bare(sources),
			manifestlist.CreateOptions{All: true, Annotations: annotations})
		if err != nil {
			return err
		}
		defer func() {
			// What the list leads to and has a name stays.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, catalog.Remove(ctx, s, catalog.RemoveRequest{Images: []string{name}}))
		}()
		if o.dryRun {
			text, err := manifestlist.Inspect(ctx, s, name)
			if err != nil {
				return err
			}
			return command.WriteIndented(env.Out(), json.RawMessage(text))
		}
		return o.push(ctx, env, s, name)
	})
}

// sources are the images to join, with those of files and of the index that --append adds to, and the annotations.
func (o *toolsOptions) sources(given []string) (all []string, annotations map[string]string, err error) {
	if o.append {
		if len(o.tags) == 0 {
			return nil, nil, command.Usagef("--append adds to the index of the first --tag: there is none")
		}
		all = append(all, "docker://"+o.tags[0])
	}
	for _, file := range o.files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, command.Usage(err)
		}
		given = append(given, strings.TrimSpace(string(text)))
	}
	for _, name := range given {
		if !strings.Contains(name, "://") && !strings.HasPrefix(name, "localhost/") {
			name = "docker://" + name // what the registry has counts
		}
		all = append(all, name)
	}
	switch {
	case len(all) == 0:
		return nil, nil, command.Usagef("imagetools create takes the images to join")
	case len(o.tags) == 0 && !o.dryRun:
		return nil, nil, command.Usagef("imagetools create has no --tag to push the index as")
	}
	pairs := make([]string, 0, len(o.annotations))
	for _, a := range o.annotations {
		pairs = append(pairs, strings.TrimPrefix(a, "index:"))
	}
	annotations, err = command.ParsePairs("--annotation", pairs)
	return all, annotations, err
}

// push pushes the index by each tag and prints its digest.
func (o *toolsOptions) push(ctx context.Context, env command.Env, s *build.Session, name string) error {
	renderer := show.New(show.ModeAuto, env.Stderr)
	res, err := build.Push(ctx, s, build.PushRequest{
		Image: name, To: o.tags, Spec: export.Spec{Type: export.TypeRegistry, Push: &export.PushSpec{}}, Progress: renderer,
	})
	if err := errors.Join(err, renderer.Close()); err != nil {
		return err
	}
	for n, tag := range o.tags {
		fmt.Fprintf(env.Errs(), "pushed %s to %s\n", res.Manifests[n], tag)
	}
	return nil
}

// reach adds the flags for the store and for registries.
func (o *toolsOptions) reach(cmd *cobra.Command) {
	o.Add(cmd.Flags())
	command.AddStoreFlags(cmd.Flags(), &o.store)
}

// run does something in a session.
func (o *toolsOptions) run(ctx context.Context, env command.Env, names []string,
	do func(context.Context, *build.Session) error) error {
	reach, err := o.Enter(ctx, env)
	if err != nil {
		return err
	}
	s := build.NewSession(build.SessionOptions{Store: o.store, Registry: reach})
	return imagenames.Finish(s, do(ctx, s), names...)
}
