package runcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/progress/show"
	"github.com/cooperbuild/cooper/build/tryout"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// runOptions are the flags of cooper run as they are written.
type runOptions struct {
	interactive, tty, rm, readOnly, quiet bool
	container                             containerFlags
	flags                                 *pflag.FlagSet
	env, envFiles                         []string
	entrypoint                            string
	entrypointGiven                       *pflag.Flag
	workdir, user                         string
	platform, pull                        string
	registries                            command.RegistryFlags
	sandbox                               stepflags.Run
	userns                                stepflags.Userns
	store                                 build.StoreOptions
}

// NewCmd makes the command run.
func NewCmd(env command.Env) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run [flags] CONTAINER|IMAGE [[--] COMMAND [ARG...]]",
		Short: "Run a command in a working container, or in an image to try it",
		Long: `Run a command in a working container, which cooper from has made, or in an image, to try what was built: in the sandbox
of RUN steps, with the environment, working directory and user of the container or image. With --rm the name is an
image's; without, a working container's if there is one of that name.

What a command writes to a working container's files stays, for the image that cooper commit makes. The entry point
isn't used there, standard input is the command's, and it has a terminal of its own if it was started from one.

In an image, COMMAND is given to the entry point, or is the program where the image has none. cooper is no container
manager: what the command writes to the image's files is gone when it ends, and there are no ports, no restarts and no
commands in the background (podman run has them, on the same store).
The command is process 1, as it is in a container: signals that it doesn't handle don't reach it. It has a
network of its own: what it listens on is open on the host with --network=host only.

With -t the command has a terminal of its own, and Ctrl-C goes to it; without, SIGINT, SIGTERM and SIGHUP are handed on
to a command that handles them, and end any other.

The exit status is the command's, or 128 plus the number of the signal that ended it; 126 if it can't be executed, 127
if there is no such program, and 125 if it was not started for another reason.`,
		Example: `  cooper run $c -- apt-get install -y curl
  cooper run --user app --workingdir /src $c make
  cooper run app
  cooper run -it debian:stable-slim bash
  cooper run --entrypoint sh -v $PWD:/src -w /src app -c 'make test'
  cooper run --network none --read-only --user 1000 app --version`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || args[0] == "" {
				return command.Ending(
					command.Usagef("run takes a working container or an image, and may be given a command\nhint: cooper run IMAGE [COMMAND [ARG...]]"),
					command.ExitMachine)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return command.Ending(o.run(cmd.Context(), env, args), command.ExitMachine)
		},
	}
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return command.Ending(runFlagError(cmd, err), command.ExitMachine)
	})
	o.register(cmd.Flags())
	cmd.Flags().SetInterspersed(false) // what follows the image is the command's
	return cmd
}

func (o *runOptions) register(f *pflag.FlagSet) {
	f.BoolVarP(&o.interactive, "interactive", "i", false,
		"hand on standard input to the command, which has none otherwise")
	f.BoolVarP(&o.tty, "tty", "t", false, "give the command a terminal of its own")
	f.BoolVar(&o.rm, "rm", true,
		"leave nothing of the command when it ends, which is always so in an image; the name is an image's then")
	f.StringArrayVarP(&o.env, "env", "e", nil,
		"variable for the command, NAME=VALUE, or NAME to take it from the environment; may be repeated")
	f.StringArrayVar(&o.envFiles, "env-file", nil, "file with a variable in each line, as --env takes it")
	f.StringVar(&o.entrypoint, "entrypoint", "",
		`program to run instead of the image's entry point and command, or a JSON array with arguments; empty: none`)
	o.entrypointGiven = f.Lookup("entrypoint")
	f.StringVarP(&o.workdir, "workdir", "w", "", "working directory of the command (default the image's)")
	f.StringVarP(&o.user, "user", "u", "", "user of the command, NAME|UID[:GROUP|GID] (default the image's)")
	f.BoolVar(&o.readOnly, "read-only", false, "keep the command from writing to the image's files")
	f.StringVar(&o.platform, "platform", "", "platform that the image must be for, OS/ARCH[/VARIANT]")
	f.StringVar(&o.pull, "pull", "missing", "fetch the image: always, missing, newer or never")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show nothing of the fetching of the image")
	f.StringVar(&o.sandbox.Network, "network", stepflags.NetworkDefault,
		"network of the command: private (one of its own with a way out), none, ns:PATH, host, or default, which is private "+
			"unless cooper.toml says otherwise")
	o.sandbox.RegisterSandbox(f, "the command")
	f.Bool("help", false, "help for run")
	command.Accept(f, "policy.json says which images are trusted", "disable-content-trust")
	command.Accept(f, "signals are handed on to the command", "sig-proxy")
	command.Refuse(f, "the platform is given as a whole\nhint: --platform OS/ARCH[/VARIANT]", "os", "arch", "variant")
	o.userns.RegisterFor(f, "the command")
	o.registries.AddRetries(f, "to pull")
	o.registries.Add(f)
	o.registerContainer(f)
	command.AddStoreFlags(f, &o.store)
	o.flags = f
}

// request makes a request of the flags; every error is a usage error.
func (o *runOptions) request(args []string) (req tryout.Request, err error) {
	req = tryout.Request{
		Image: args[0], ReadOnly: o.readOnly, Pull: build.PullPolicy(o.pull), Signal: signalOf,
		Command: tryout.Command{
			Args: args[1:], Workdir: o.workdir, User: o.user, Hostname: o.sandbox.Shared.Hostname, Terminal: o.tty,
			Term: os.Getenv("TERM"),
		},
	}
	switch o.pull {
	case string(build.PullAlways), string(build.PullMissing), string(build.PullNewer), string(build.PullNever):
	default:
		return req, command.Usagef("--pull=%s: must be always, missing, newer or never", o.pull)
	}
	if o.workdir != "" && !path.IsAbs(o.workdir) {
		return req, command.Usagef("--workdir=%s: must be an absolute path", o.workdir)
	}
	if o.entrypointGiven.Changed {
		if req.Command.Entrypoint, err = entrypoint(o.entrypoint); err != nil {
			return req, err
		}
	}
	if req.Command.Env, err = variables(o.env, o.envFiles); err != nil {
		return req, err
	}
	if o.platform != "" {
		list, err := build.ParsePlatforms([]string{o.platform})
		switch {
		case err != nil:
			return req, command.Usage(err)
		case len(list) != 1:
			return req, command.Usagef("--platform=%s: a command runs on one platform", o.platform)
		}
		req.Platform = &list[0]
	}
	if req.Run, err = o.sandbox.Options(); err != nil {
		return req, command.Usage(err)
	}
	return req, nil
}

// entrypoint reads --entrypoint: a program, or a JSON array of it and its arguments. The result is never nil.
func entrypoint(text string) ([]string, error) {
	switch {
	case text == "":
		return []string{}, nil
	case !strings.HasPrefix(text, "["):
		return []string{text}, nil
	}
	list := []string{}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, command.Usagef("--entrypoint %s: is no JSON array of strings: %w", text, err)
	}
	return list, nil
}

// variables are those of --env-file and, after them, of --env.
func variables(given, files []string) ([]string, error) {
	var list []string
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, command.Usagef("--env-file: %w", err)
		}
		for number, line := range strings.Split(string(text), "\n") {
			line = strings.TrimLeft(strings.TrimSuffix(line, "\r"), " \t")
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if list, err = addVariable(list, line); err != nil {
				return nil, command.Usagef("--env-file %s: line %d: %w", name, number+1, err)
			}
		}
	}
	for _, text := range given {
		var err error
		if list, err = addVariable(list, text); err != nil {
			return nil, command.Usagef("--env %w", err)
		}
	}
	return list, nil
}

// addVariable adds NAME=VALUE, or NAME with the value that it has in the environment, if it has one.
func addVariable(list []string, text string) ([]string, error) {
	name, _, hasValue := strings.Cut(text, "=")
	if name == "" || strings.ContainsAny(name, " \t\x00") {
		return nil, fmt.Errorf("%q: must be NAME=VALUE or NAME", text)
	}
	if hasValue {
		return append(list, text), nil
	}
	if value, ok := os.LookupEnv(name); ok {
		return append(list, name+"="+value), nil
	}
	return list, nil
}

// signalOf is the signal that ended a context.
func signalOf(cause error) syscall.Signal {
	if stopped := new(command.Interrupted); errors.As(cause, stopped) {
		return stopped.Signal
	}
	return syscall.SIGTERM
}

func (o *runOptions) run(ctx context.Context, env command.Env, args []string) (err error) {
	o.usual()
	req, err := o.request(args)
	if err != nil {
		return err
	}
	if o.tty && o.interactive && !terminal.Is(env.Stdin) {
		return command.Usagef("-it: standard input is no terminal\nhint: -i alone hands on what it has")
	}
	if err := o.registries.Check(env); err != nil {
		return err
	}
	env.KeepGroups = o.sandbox.KeepsGroups()
	if err := command.Enter(ctx, env); err != nil {
		return err
	}
	reach, err := o.registries.Options(ctx, env)
	if err != nil {
		return err
	}
	mode := show.ModeAuto
	if o.quiet {
		mode = show.ModeQuiet
	}
	shown := &untilBegun{env: env, renderer: show.New(mode, env.Stderr)}
	place := o.store
	if progress.ShowsNotes(shown) {
		place.Tell = func(text string) { shown.Emit(progress.Note{Text: text}) }
	}
	session := build.NewSession(build.SessionOptions{Store: place, Registry: reach})
	defer func() { err = errors.Join(err, session.Close()) }()
	is, err := o.isContainer(ctx, session, args[0])
	if err != nil {
		return errors.Join(err, shown.begin())
	}
	if is {
		return o.runIn(ctx, env, session, runningIn{args: args, req: req, shown: shown})
	}
	return o.try(ctx, env, session, req, shown)
}

// try runs a command in an image, of which nothing remains.
func (o *runOptions) try(ctx context.Context, env command.Env, session *build.Session, req tryout.Request,
	shown *untilBegun) (err error) {
	if err := o.onlyContainers(); err != nil {
		return errors.Join(err, shown.begin())
	}
	ns, note, err := o.userns.StepNS(ctx, env)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ns.Joined.Close()) }()
	req.StepNS, req.Progress = ns, shown
	if note != "" {
		shown.Emit(progress.Note{Text: note})
	}
	try, err := tryout.Open(ctx, session, req)
	if err = errors.Join(err, shown.begin()); err != nil {
		return err
	}
	status, err := try.Run(ctx, tryout.Streams{
		Stdin: env.Stdin, Stdout: env.Stdout, Stderr: env.Stderr, Interactive: o.interactive, Terminal: o.tty,
	})
	if err = errors.Join(err, try.Close()); err != nil {
		return endOf(err)
	}
	if status != 0 {
		return command.StatusError(status)
	}
	return nil
}

// endOf gives the error of a command that didn't end by itself its status.
func endOf(err error) error {
	if stopped := new(command.Interrupted); errors.As(err, stopped) {
		return command.StatusError(command.ExitSignal + int(stopped.Signal))
	}
	return command.Ending(err, tryout.StatusOf(err))
}

// untilBegun shows events as a build does until the command begins, whose terminal it is from then on. Later only notes
// are shown, as lines.
type untilBegun struct {
	env      command.Env
	renderer progress.Renderer
	begun    bool
}

// begin is called before the command begins.
func (u *untilBegun) begin() error {
	u.begun = true
	return u.renderer.Close()
}

// Emit shows an event. It is called by one goroutine at a time, as soon as the image is there.
func (u *untilBegun) Emit(e progress.Event) {
	if !u.begun {
		u.renderer.Emit(e)
		return
	}
	if note, ok := e.(progress.Note); ok {
		fmt.Fprintf(u.env.Errs(), "cooper: %s\n", note.Text)
	}
}

// ShowsNotes tells whether a note is shown now.
func (u *untilBegun) ShowsNotes() bool { return u.begun || progress.ShowsNotes(u.renderer) }
