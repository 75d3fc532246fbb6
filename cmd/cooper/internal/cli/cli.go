package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/bakecmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/buildcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/cachecmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/diskcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/imagecmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/logincmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/manifestcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/runcmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/usernscmd"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/workcmd"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Main runs the program and returns its exit status.
func Main(env command.Env) int {
	out := &firstError{w: env.Out()}
	env, root, err := understand(env, out)
	if err != nil {
		return status(env, err)
	}
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetErr(env.Errs())
	ignoreForeignRuntimeDir()
	ctx, stop := signalContext()
	defer stop()
	err = guard.Call(func() error { return root.ExecuteContext(ctx) })
	if err == nil {
		err = out.err
	}
	return status(env, err)
}

// firstError remembers the first error of a writer: what writes help and completions passes over it.
type firstError struct {
	w   io.Writer
	err error
}

func (f *firstError) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if f.err == nil {
		f.err = err
	}
	return n, err
}

// ignoreForeignRuntimeDir unsets XDG_RUNTIME_DIR where it is no directory of the user's, as after su or sudo without a
// login: without the variable there is always a place. Real root doesn't use it.
func ignoreForeignRuntimeDir() {
	const name = "XDG_RUNTIME_DIR"
	dir := os.Getenv(name)
	if dir == "" {
		return
	}
	var st unix.Stat_t
	if unix.Stat(dir, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR && fsys.Mine(&st) &&
		filepath.IsAbs(dir) {
		return
	}
	_ = os.Unsetenv(name) // it fails for names that can't be
}

// endingSignals are those that a user or the system asks this program with to end.
func endingSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} }

// sameSignal is how long further signals are taken for the first one: Ctrl-C, or a signal to a whole process group,
// reaches this process directly and once more through the one that waits for it outside the namespace.
const sameSignal = time.Second

// signalContext is cancelled by the first signal to end; a later one ends the process as it would any other.
func signalContext() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, endingSignals()...)
	go func() {
		s, ok := <-signals
		if !ok {
			return
		}
		time.AfterFunc(sameSignal, func() { signal.Stop(signals) })
		if number, ok := s.(syscall.Signal); ok {
			cancel(command.Interrupted{Signal: number})
		}
	}()
	return ctx, func() { signal.Stop(signals); close(signals); cancel(nil) }
}

// verbs are all commands below the first, by name within each group.
func verbs() []command.Verb {
	own := []command.Verb{
		{Name: "bake", New: bakecmd.NewCmd}, {Name: "build", New: buildcmd.NewCmd}, {Name: "buildx", New: newBuildxCmd},
		{Name: "cache", New: cachecmd.NewCmd},
		{Name: "check", New: buildcmd.NewCheckCmd}, {Name: "df", New: diskcmd.NewDfCmd}, {Name: "doctor", New: newDoctorCmd},
		{Name: buildcmd.KanikoWord, New: buildcmd.NewKanikoCmd}, {Name: "manifest", New: manifestcmd.NewCmd},
		{Name: "prune", New: diskcmd.NewPruneCmd},
		{Name: "run", New: runcmd.NewCmd}, {Name: "top", New: diskcmd.NewTopCmd},
		{Name: "unshare", New: usernscmd.NewUnshareCmd}, {Name: "userns", New: usernscmd.NewCmd},
		{Name: "version", New: newVersionCmd},
	}
	return slices.Concat(own, imagecmd.Verbs(), workcmd.Verbs(), logincmd.Verbs())
}

// newRootCmd makes the tree of the commands that a line may be about; out gets help and completions.
func newRootCmd(env command.Env, out io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           command.Program,
		Short:         "Build OCI images from a Dockerfile, as an ordinary user and without a daemon",
		Version:       env.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return command.Unknown(cmd, args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate(env.Dialect.Version(env.Version) + "\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return flagError(cmd, env.Args, err)
	})
	root.AddCommand(command.Make(verbs(), env)...)
	root.SetOut(out) // the library's completions go to what is set when they are added
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "help":
			cmd.Run, cmd.RunE = nil, runHelp
		case "completion":
			cmd.Args, cmd.RunE = command.OnlyCommands, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			for _, shell := range cmd.Commands() {
				shell.Args = command.NoArgs
			}
		}
	}
	return root
}

// runHelp shows the help of the command that the words name.
func runHelp(cmd *cobra.Command, words []string) error {
	about, rest, err := cmd.Root().Find(words)
	switch {
	case err != nil:
		return command.Usagef("unknown command %q%s", strings.Join(words, " "),
			command.HintFor(cmd.Root(), command.First(words)))
	case len(rest) > 0:
		return command.Usagef("unknown command %q%s", strings.Join(words, " "), command.HintFor(about, command.First(rest)))
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// withoutFunctions takes the names of Go's functions out of the text of an error about a flag.
func withoutFunctions(text string) string {
	return regexp.MustCompile(`strconv\.\w+: parsing "[^"]*": |\btime: `).ReplaceAllString(text, "")
}
