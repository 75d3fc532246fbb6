package working

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"

	"github.com/cooperbuild/cooper/build/internal/console"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/stepnet"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/executor"
)

// Streams are what a command is connected with.
type Streams = console.Streams

// Command is what is run in a container, as far as the container's config doesn't say it.
type Command struct {
	// Args begin with the program. The image's entry point isn't used.
	Args []string
	// Env is "NAME=value", and wins over the container's environment.
	Env []string
	// Workdir is absolute, User is "user[:group]"; empty: the container's.
	Workdir, User string
	// Hostname is the name of the machine that the command sees; empty: the container's, or "cooper".
	Hostname string
	// Term is the kind of the terminal, if the command gets one.
	Term string
	// Mounts are those besides the volumes of the sandbox: of memory, and kept from command to command.
	Mounts []plan.Mount
	// AddHistory adds the command to the image's history.
	AddHistory bool
	// Signal gives the signal that a cause of a context's end stands for; nil: SIGTERM.
	Signal func(cause error) syscall.Signal
}

// StatusOf gives the exit status that stands for an error of Run.
func StatusOf(err error) int { return console.StatusOf(err) }

// op is the command in the container.
func (c *Container) op(command Command, terminal bool) *plan.Run {
	img := c.State.Image
	env := slices.Clone(img.Config.Env)
	host := cmp.Or(command.Hostname, img.Config.Hostname)
	if host != "" {
		env = append(env, "HOSTNAME="+host)
	}
	if terminal {
		env = append(env, "TERM="+cmp.Or(command.Term, "xterm"))
	}
	return &plan.Run{
		Args: command.Args, Env: append(env, command.Env...), Cwd: cmp.Or(command.Workdir, img.Config.WorkingDir, "/"),
		User: cmp.Or(command.User, img.Config.User), Hostname: host, Platform: img.Platform, Mounts: command.Mounts,
	}
}

// ErrNoCommand says that there is nothing to run.
var ErrNoCommand = errors.New("no command was given\nhint: cooper run CONTAINER -- COMMAND [ARG...]")

// Run runs a command in the container, waits for its end and gives its exit status. What the command has written to the
// container's files stays, also if it fails.
func (c *Container) Run(ctx context.Context, o Options, command Command, streams Streams) (exit int, err error) {
	if len(command.Args) == 0 || command.Args[0] == "" {
		return 0, ErrNoCommand
	}
	defer func() { err = c.session.Explain(err) }()
	o, err = c.namespaceFor(o)
	if err != nil {
		return 0, err
	}
	e, err := c.engine(ctx, o)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, e.close(ctx)) }()
	op := c.op(command, streams.Terminal)
	op.Network = cmp.Or(o.Run.Network, stepnet.Default)
	if o.Cached && !e.shared && !streams.Terminal {
		exit, err = e.runStep(ctx, op, command, streams)
	} else {
		exit, err = e.runHere(ctx, op, command, streams)
		e.tell(false, text(op))
	}
	if err != nil || exit != 0 || !command.AddHistory {
		return exit, err
	}
	shell := strings.Join(c.State.Image.Shell(), " ")
	c.State.Note(shell+" "+strings.Join(command.Args, " "), now())
	return exit, c.Save()
}

// namespaceFor leaves out the user namespace that commands get by default where it isn't possible: what the driver has
// mounted can't be shown with other owners.
func (c *Container) namespaceFor(o Options) (Options, error) {
	if o.StepNS.Steps == nil || o.StepNS.Asked {
		return o, nil
	}
	mounted, err := c.room.MountedAt(c.record)
	if err != nil {
		return o, err
	}
	var why string
	switch {
	case mounted != "":
		why = "container " + c.Name() + " is mounted"
	case snapshot.New(c.depot.Store).Way() != snapshot.ByRename:
		why = "with this storage driver"
	default:
		return o, nil
	}
	o.StepNS = rootfs.StepNS{}
	c.to.Emit(progress.Note{Text: why + ": the command gets no user namespace of its own"})
	return o, nil
}

// text is what the command is called.
func text(op *plan.Run) string { return "run " + strings.Join(op.Args, " ") }

// runHere runs a command in the container's own layer.
func (e *engine) runHere(ctx context.Context, op *plan.Run, command Command, streams Streams) (exit int, err error) {
	staged, adopted, err := e.adopt(&plan.Step{Text: text(op)})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, adopted.Remove()) }()
	runs := e.runs()
	return console.Run(ctx, streams, command.Signal, func(ctx context.Context,
		connect func(*executor.Step)) (executor.Status, error) {
		return runs.Try(ctx, staged, op, connect)
	})
}
