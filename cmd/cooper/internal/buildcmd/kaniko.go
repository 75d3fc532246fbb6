package buildcmd

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/kaniko"
)

// KanikoWord is the verb that takes kaniko's arguments.
const KanikoWord = "kaniko-args"

// NewKanikoCmd makes the command that takes kaniko's arguments.
func NewKanikoCmd(env command.Env) *cobra.Command {
	var args *kaniko.Args
	cmd := &cobra.Command{
		Use:   KanikoWord + " [kaniko's arguments]",
		Short: "Build with the arguments of kaniko's executor",
		Long: `Build with the arguments of kaniko's executor, so that those of a job can stay as they are: put "cooper kaniko-args" in
the place of /kaniko/executor, or a link to cooper by the name executor. What each argument means is said below.`,
		Example: `  cooper kaniko-args --context=dir://$PWD --dockerfile=Dockerfile --destination=registry.example.com/app:1
  cooper kaniko-args --context=git://github.com/team/app.git#refs/heads/main --no-push --tar-path=app.tar`,
		Args: command.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			exists := func(path string) bool { _, err := os.Stat(path); return err == nil }
			b, err := args.Build(exists)
			if err != nil {
				return command.Usage(err)
			}
			o := new(Options)
			inner := buildCmd(env, o)
			if err := inner.ParseFlags(b.Flags); err != nil {
				return command.Usage(err)
			}
			inner.SetContext(cmd.Context())
			o.built = func(ctx context.Context, res build.Result) error {
				return writeKanikoFiles(ctx, b.Files, args.Destinations(), res)
			}
			return runBuild(inner, env, o, b.Context)
		},
	}
	args = kaniko.Register(cmd.Flags())
	return cmd
}

// writeKanikoFiles writes the digest of the image, alone and behind its names.
func writeKanikoFiles(ctx context.Context, files kaniko.Files, names []string, res build.Result) error {
	digest := res.Manifest.String()
	var bare, tagged strings.Builder
	for _, name := range names {
		repository := name
		if n := strings.LastIndexByte(name, ':'); n > strings.LastIndexByte(name, '/') {
			repository = name[:n]
		}
		bare.WriteString(repository + "@" + digest + "\n")
		tagged.WriteString(name + "@" + digest + "\n")
	}
	for path, text := range map[string]string{files.Digest: digest, files.Name: bare.String(),
		files.Tag: tagged.String()} {
		if path == "" {
			continue
		}
		if err := outfile.WriteFile(ctx, path, []byte(text)); err != nil {
			return err
		}
	}
	return nil
}
