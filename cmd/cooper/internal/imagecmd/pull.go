package imagecmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/build/pullimage"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildflags"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
)

// pullOptions are the flags of pull.
type pullOptions struct {
	allTags, quiet   bool
	platform         buildflags.Platform
	policy, progress string
	command.RegistryFlags
	store build.StoreOptions
}

// The transports of files that pull reads as podman does.
func fileTransports() []string { return []string{"docker-archive:", "oci-archive:", "oci:", "dir:"} }

func newPullCmd(env command.Env) *cobra.Command {
	var o pullOptions
	cmd := &cobra.Command{
		Use:   "pull [flags] NAME...",
		Short: "Pull images from registries into the local store",
		Long: `Pull images from registries into the local store. A NAME without a registry is resolved as registries.conf says, and
else is on docker.io.

With several platforms the images of all are pulled, and NAME leads to an index of them.
NAME may also be docker://NAME, docker-archive:FILE, oci-archive:FILE, oci:DIRECTORY or dir:DIRECTORY, with :NAME behind
a FILE or DIRECTORY to take that image only; cooper load reads these files, too.
The ID of each image is printed on standard output, progress on standard error.`,
		Example: `  cooper pull alpine
  cooper pull --platform linux/amd64,linux/arm64 registry.example.com/team/app:1
  cooper pull --all-tags registry.example.com/team/app
  cooper pull oci-archive:app.tar`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return command.Usagef("pull takes the names of images, got nothing")
			}
			return o.check(args)
		},
		RunE:              func(cmd *cobra.Command, args []string) error { return runPull(cmd.Context(), env, &o, args) },
		ValidArgsFunction: imagenames.Complete(&o.store, 0),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.allTags, "all-tags", "a", false, "pull all tags of the repository")
	f.StringArrayVar(&o.platform.List, "platform", nil,
		"platforms to pull the image of, OS/ARCH[/VARIANT][,...] (default $DOCKER_DEFAULT_PLATFORM, or this machine's)")
	o.platform.RegisterParts(f, "to pull the image of")
	command.Accept(f, "policy.json says which images are trusted", "disable-content-trust")
	command.Accept(f, "the store keeps no signatures", "remove-signatures")
	command.Refuse(f, "encrypted images are not read\nhint: skopeo copy --decryption-key puts them into the store",
		"decryption-key")
	f.StringVar(&o.policy, "policy", string(build.PullAlways), "when to ask registries: always, missing, newer or never")
	o.AddRetries(f, "to pull")
	o.Add(f)
	command.AddStoreFlags(f, &o.store)
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but errors and IDs")
	f.StringVar(&o.progress, "progress", "",
		"how to show progress: auto, tty, plain, quiet, json or rawjson (default auto)")
	return cmd
}

// check refuses what needs no registry to be found wrong.
func (o *pullOptions) check(args []string) error {
	switch build.PullPolicy(o.policy) {
	case build.PullAlways, build.PullMissing, build.PullNewer, build.PullNever:
	default:
		return command.Usagef("--policy=%s: must be always, missing, newer or never", o.policy)
	}
	for _, name := range args {
		transport, _ := fileOf(name)
		if transport != "" && (o.allTags || len(o.platform.List) > 1) {
			return command.Usagef("%s is a file: --all-tags and several platforms are for registries", name)
		}
		if transport != "" {
			continue
		}
		ref, err := reference.Parse(strings.TrimPrefix(name, "docker://"))
		if err != nil {
			return command.Usagef("image name %q: %w", name, err)
		}
		if o.allTags && (ref.Tag != "" || ref.Digest != "") {
			return command.Usagef("--all-tags takes a name without a tag, got %s", name)
		}
	}
	return nil
}

// fileOf is the transport of a name and what is behind it; "" for names of registries.
func fileOf(name string) (transport, rest string) {
	for _, t := range fileTransports() {
		if rest, ok := strings.CutPrefix(name, t); ok {
			return t, rest
		}
	}
	return "", name
}

// wanted are the platforms that flags or the environment say.
func (o *pullOptions) wanted() ([]ocispec.Platform, error) {
	const preset = "DOCKER_DEFAULT_PLATFORM"
	if text := os.Getenv(preset); len(o.platform.List) == 0 && text != "" {
		o.platform.List, o.platform.From = []string{text}, preset
	}
	var req build.Request
	err := o.platform.Apply(&req)
	return req.Platforms, err
}

func runPull(ctx context.Context, env command.Env, o *pullOptions, args []string) error {
	wanted, err := o.wanted()
	if err != nil {
		return err
	}
	mode, err := modeOf(o.progress, o.quiet)
	if err != nil {
		return err
	}
	reach, err := o.Enter(ctx, env)
	if err != nil {
		return err
	}
	renderer := show.New(mode, env.Stderr)
	s := build.NewSession(build.SessionOptions{Store: telling(o.store, renderer), Registry: reach})
	var ids []string
	for _, name := range args {
		var pulled []string
		if transport, rest := fileOf(name); transport != "" {
			pulled, err = pullFile(ctx, s, renderer, rest, wanted)
		} else {
			pulled, err = pullOne(ctx, s, pullimage.Request{Image: strings.TrimPrefix(name, "docker://"), Platforms: wanted,
				AllTags: o.allTags, Policy: build.PullPolicy(o.policy), Progress: renderer})
		}
		ids = append(ids, pulled...)
		if err != nil {
			break
		}
	}
	err = errors.Join(err, s.Close(), renderer.Close())
	for _, id := range ids {
		if _, writeErr := fmt.Fprintln(env.Out(), id); writeErr != nil {
			return errors.Join(err, fmt.Errorf("write ID: %w", writeErr))
		}
	}
	return err
}

func pullOne(ctx context.Context, s *build.Session, req pullimage.Request) (ids []string, err error) {
	all, err := pullimage.Pull(ctx, s, req)
	for _, p := range all {
		ids = append(ids, p.ID)
	}
	return ids, err
}

// pullFile loads the images of a file, or the one whose name is behind the last colon.
func pullFile(ctx context.Context, s *build.Session, to progress.Sink, name string,
	wanted []ocispec.Platform) (ids []string, err error) {
	req := archives.LoadRequest{Path: name, Progress: to, Loaded: func(l archives.Loaded) { ids = append(ids, l.ID) }}
	if len(wanted) > 0 {
		req.Platform = &wanted[0]
	}
	if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
		if at := strings.IndexByte(name, ':'); at > 0 {
			req.Path, req.Only = name[:at], name[at+1:]
		}
	}
	err = archives.Load(ctx, s, req)
	return ids, err
}
