package imagecmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagenames"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// loadOptions are the flags of load.
type loadOptions struct {
	input, platform, progress string
	quiet, allPlatforms       bool
	store                     build.StoreOptions
}

func newLoadCmd(env command.Env) *cobra.Command {
	var o loadOptions
	cmd := &cobra.Command{
		Use:   "load [flags]",
		Short: "Load images from a file, a directory or standard input",
		Long: `Load images that cooper save, docker save, podman save, skopeo or buildah have written: docker's archives, OCI archives,
both plain or compressed with gzip, bzip2, xz or zstd, OCI layouts and the directories of skopeo's dir: transport.
Images keep the names that they have there. The names are printed on standard output.`,
		Example: `  cooper load -i app.tar
  ssh host docker save app | cooper load
  cooper load --input layout`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Usagef("load takes no arguments, got %q\nhint: cooper load --input %[1]s", args[0])
			}
			if o.input == "" && terminal.Is(env.Stdin) {
				return command.Usagef("standard input is a terminal\nhint: cooper load --input FILE, or cooper load <FILE")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runLoad(cmd, env, &o) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.input, "input", "i", "", "file or directory to read (default standard input)")
	f.StringVar(&o.platform, "platform", "", "which image of an index to load, OS/ARCH[/VARIANT] (default this machine's)")
	f.BoolVar(&o.allPlatforms, "all-platforms", false, "load all images of an index, and the index")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing but errors and what was loaded")
	f.StringVar(&o.progress, "progress", "",
		"how to show progress: auto, tty, plain, quiet, json or rawjson (default auto)")
	command.AddStoreFlags(f, &o.store)
	return cmd
}

func runLoad(cmd *cobra.Command, env command.Env, o *loadOptions) error {
	platform, err := onePlatform(o.platform)
	if err != nil {
		return err
	}
	if o.allPlatforms && platform != nil {
		return command.Usagef("--all-platforms and --platform contradict each other: give one of them")
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
	var loaded []archives.Loaded
	path := o.input
	if path == "-" {
		path = ""
	}
	err = archives.Load(cmd.Context(), s, archives.LoadRequest{
		Path: path, Stdin: env.Stdin, Platform: platform, AllPlatforms: o.allPlatforms, Progress: renderer,
		Loaded: func(l archives.Loaded) { loaded = append(loaded, l) },
	})
	err = errors.Join(err, s.Close(), renderer.Close())
	return errors.Join(err, writeLoaded(env, loaded))
}

// writeLoaded says what is in the store now, even if there was more to load.
func writeLoaded(env command.Env, all []archives.Loaded) error {
	for _, l := range all {
		lines := []string{"Loaded image ID: sha256:" + l.ID}
		if len(l.Names) > 0 {
			lines = nil
		}
		for _, n := range l.Names {
			lines = append(lines, "Loaded image: "+command.Printable(n))
		}
		for _, line := range lines {
			if _, err := fmt.Fprintln(env.Out(), line); err != nil {
				return fmt.Errorf("write what was loaded: %w", err)
			}
		}
	}
	return nil
}
