package workcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// scriptOptions are the flags of script.
type scriptOptions struct {
	env                         command.Env
	interactive, noCache, quiet bool
	verbose                     bool
}

func newScriptCmd(env command.Env) *cobra.Command {
	o := &scriptOptions{env: env}
	cmd := &cobra.Command{
		Use:   "script [flags] FILE [ARG...]",
		Short: "Run a shell script of buildah calls with the cache",
		Long: `Run a script whose commands call buildah, unchanged, with cooper in buildah's place and with the cache: a run, copy or
add whose inputs are the same as before isn't done again, as in a build. What a command has written to its standard
output and error is written again. FILE is run by the interpreter that its first line names, else by /bin/sh; - is
standard input.

A command's inputs are the container's files and config, its arguments and what it is run with. A command that reads its
standard input, that has volumes of the host or a terminal, or that fails is run each time; so is one in a container
that is mounted. The script's own standard input is empty unless --interactive is given. What the script does beside
buildah it does each time, in the order in which it says so; what it puts into the background runs at the same time.

The exit status is the script's.`,
		Example: `  cooper script build-app.sh
  cooper script --verbose ./build-all.sh release
  COOPER_CACHE=1 cooper run $c -- apt-get update`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return command.Usagef("script takes the file of a script, and may be given arguments for it")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the file is the script's
	f.BoolVarP(&o.interactive, "interactive", "i", false, "give the script this command's standard input")
	f.BoolVar(&o.noCache, "no-cache", false, "do everything, whatever the cache has")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "say nothing of how much came from the cache")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "list the steps, and which came from the cache")
	return cmd
}

func (o *scriptOptions) run(ctx context.Context, args []string) (err error) {
	dir, err := os.MkdirTemp("", "cooper-script-")
	if err != nil {
		return fmt.Errorf("prepare the script: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	log := filepath.Join(dir, "log")
	if err := errors.Join(os.WriteFile(log, nil, 0o600), o.link(dir)); err != nil {
		return fmt.Errorf("prepare the script: %w", err)
	}
	cmd, err := o.command(ctx, dir, args)
	if err != nil {
		return err
	}
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), envLog+"="+log)
	if !o.noCache {
		cmd.Env = append(cmd.Env, envCache+"=1")
	}
	began := time.Now()
	err = cmd.Run()
	if !o.quiet {
		err = errors.Join(err, o.summary(log, time.Since(began)))
	}
	exit := new(exec.ExitError)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.As(err, &exit):
		return err
	case exit.ExitCode() >= 0:
		return command.StatusError(exit.ExitCode())
	}
	status, _ := exit.Sys().(syscall.WaitStatus)
	return command.StatusError(command.ExitSignal + int(status.Signal()))
}

// link makes a directory with programs of the names by which the script calls this one. Its user's podman, which works
// on the same store, stays what it is.
func (o *scriptOptions) link(dir string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return err
	}
	names := []string{"buildah", "cooper"}
	if _, err := exec.LookPath("podman"); err != nil {
		names = append(names, "podman")
	}
	for _, name := range names {
		err = errors.Join(err, os.Symlink(self, filepath.Join(bin, name)))
	}
	return err
}

// command is the script, to be run.
func (o *scriptOptions) command(ctx context.Context, dir string, args []string) (*exec.Cmd, error) {
	file := args[0]
	if file == "-" {
		text, err := io.ReadAll(o.env.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read the script: %w", err)
		}
		file = filepath.Join(dir, "script")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return nil, fmt.Errorf("read the script: %w", err)
		}
	}
	words, err := interpreter(file)
	if err != nil {
		return nil, err
	}
	words = append(append(words, file), args[1:]...)
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	// A signal reaches the script's commands by themselves, and they end as they like.
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = scriptPatience
	cmd.Stdout, cmd.Stderr = o.env.Stdout, o.env.Stderr
	if o.interactive && args[0] != "-" {
		cmd.Stdin = o.env.Stdin
	}
	return cmd, nil
}

// scriptPatience is how long a script may take to end after a signal.
const scriptPatience = 15 * time.Second

// interpreter is what runs a script: what its first line says, or /bin/sh.
func interpreter(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, command.Usagef("read the script: %w", err)
	}
	defer f.Close()
	line, err := bufio.NewReader(io.LimitReader(f, maxShebang)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, command.Usagef("read the script: %w", err)
	}
	named, ok := strings.CutPrefix(line, "#!")
	if !ok || strings.TrimSpace(named) == "" {
		return []string{"/bin/sh"}, nil
	}
	// As in the kernel, what follows the program is one argument.
	program, rest, has := strings.Cut(strings.TrimSpace(named), " ")
	if rest = strings.TrimSpace(rest); has && rest != "" {
		return []string{program, rest}, nil
	}
	return []string{program}, nil
}

// maxShebang is how long the first line of a script may be, in bytes.
const maxShebang = 4096

// summary tells how many steps were done.
func (o *scriptOptions) summary(log string, took time.Duration) error {
	text, err := os.ReadFile(log)
	if err != nil {
		return fmt.Errorf("read what the script has done: %w", err)
	}
	ran, cached := 0, 0
	for line := range strings.Lines(string(text)) {
		how, what, _ := strings.Cut(strings.TrimSpace(line), " ")
		if how == "cached" {
			cached++
		} else {
			ran++
		}
		if o.verbose {
			fmt.Fprintf(o.env.Errs(), "cooper: %s: %s\n", how, what)
		}
	}
	if ran+cached > 0 {
		fmt.Fprintf(o.env.Errs(), "cooper: %d steps, %d from the cache, in %s\n", ran+cached, cached,
			took.Round(time.Millisecond))
	}
	return nil
}
