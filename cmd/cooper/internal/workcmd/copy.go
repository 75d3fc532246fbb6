package workcmd

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// copyOptions are the flags of copy and add.
type copyOptions struct {
	verb
	command.RegistryFlags
	what working.Copy
}

func newCopyCmd(env command.Env) *cobra.Command {
	o := &copyOptions{verb: verb{env: env}}
	cmd := &cobra.Command{
		Use:   "copy [flags] CONTAINER SOURCE... [DESTINATION]",
		Short: "Copy files into a working container",
		Long: `Copy files and the contents of directories into a working container, as COPY does, and print a digest of their content.
The DESTINATION is below the container's working directory if it isn't absolute, and that directory if it is left out.
Files belong to root of the container unless --chown says otherwise.`,
		Example: `  cooper copy $c app.conf /etc/
  cooper copy --chown app:app --chmod u=rwX,go= $c data /srv
  cooper copy --from golang:1 $c /usr/local/go /usr/local/go`,
	}
	return o.setUp(cmd)
}

func newAddCmd(env command.Env) *cobra.Command {
	o := &copyOptions{verb: verb{env: env}, what: working.Copy{Add: true}}
	cmd := &cobra.Command{
		Use:   "add [flags] CONTAINER SOURCE... [DESTINATION]",
		Short: "Add files, archives and what URLs name to a working container",
		Long: `Add files to a working container, as cooper copy does, unpack archives among them, and fetch URLs and git repositories.
A digest of the content is printed.`,
		Example: `  cooper add $c rootfs.tar.xz /
  cooper add $c https://example.com/app-1.0.tar.gz /tmp/
  cooper add --checksum sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03 $c https://example.com/key /etc/`,
	}
	cmd.Flags().StringVar(&o.what.Checksum, "checksum", "", "checksum of the only source: ALGORITHM:HEX of a URL, a commit's ID")
	return o.setUp(cmd)
}

// setUp adds what both have in common.
func (o *copyOptions) setUp(cmd *cobra.Command) *cobra.Command {
	cmd.Args = usage(2, 0, "a container and what is copied")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return o.do(cmd.Context(), args) }
	f := cmd.Flags()
	f.StringVar(&o.what.Chown, "chown", "", "owner of the files, USER[:GROUP], by name or number (default root)")
	f.StringVar(&o.what.Chmod, "chmod", "", "mode of the files, octal or symbolic")
	f.StringVar(&o.what.From, "from", "", "take the files from a working container or an image")
	f.StringVar(&o.what.ContextDir, "contextdir", "", "take the files from below this directory, and nothing from outside it")
	f.StringVar(&o.what.IgnoreFile, "ignorefile", "", "file that says what of the --contextdir is left out")
	f.StringArrayVar(&o.what.Excludes, "exclude", nil, "pattern of files that are left out")
	f.BoolVar(&o.what.Parents, "parents", false, "keep the directories that a source is in")
	f.BoolVar(&o.what.AddHistory, "add-history", byDefault(envHistory), "add an entry to the image's history")
	f.BoolVarP(&o.what.Quiet, "quiet", "q", false, "print no digest")
	command.Accept(f, "a commit makes one layer of all that a container has", "link")
	o.RegistryFlags.Add(f)
	o.RegistryFlags.AddRetries(f, "to pull")
	o.registry = &o.RegistryFlags
	command.AddStoreFlags(f, &o.store)
	return cmd
}

func (o *copyOptions) do(ctx context.Context, args []string) error {
	what := o.what
	what.Sources = args[1:]
	if n := len(args); n > 2 {
		what.Sources, what.Dest = args[1:n-1], args[n-1]
	}
	if _, err := strconv.ParseUint(what.Chmod, 8, 32); what.Chmod != "" && err != nil && !strings.ContainsAny(what.Chmod, "+-=") {
		return command.Usagef("--chmod=%s: must be octal, such as 0755, or symbolic, such as u=rwX,go=rX", what.Chmod)
	}
	return o.run(ctx, func(s *build.Session, to progress.Sink) error {
		what.Find.Progress = to
		c, err := working.Open(ctx, s, args[0], to)
		if err != nil {
			return withNearest(ctx, s, err, args[0])
		}
		d, err := c.Copy(ctx, working.Options{Cached: Cached(), Did: Did}, what)
		if err = errors.Join(err, c.Close()); err != nil || what.Quiet {
			return err
		}
		return o.print(d.Encoded())
	})
}

// withNearest adds to the error for a container that isn't there which one was probably meant.
func withNearest(ctx context.Context, s *build.Session, err error, name string) error {
	if !errors.Is(err, working.ErrNone) {
		return err
	}
	all, listErr := working.List(ctx, s)
	if listErr != nil {
		return err // the first error matters more
	}
	var names []string
	for _, c := range all {
		if c.Working {
			names = append(names, c.Name)
		}
	}
	if meant := command.Near(name, names); meant != "" {
		return hinted(err, "did you mean "+command.Printable(meant)+"?")
	}
	return hinted(err, "cooper containers lists them, cooper from IMAGE makes one")
}
