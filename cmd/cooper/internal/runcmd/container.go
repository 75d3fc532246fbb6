package runcmd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/tryout"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/workcmd"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// containerFlags are the flags of run that are about working containers alone.
type containerFlags struct {
	addHistory         bool
	mounts             []string
	contextDir         string
	isolation, runtime string
	noPivot            bool
	runtimeFlags       []string
}

// registerContainer adds the flags of buildah's run.
func (o *runOptions) registerContainer(f *pflag.FlagSet) {
	c := &o.container
	f.BoolVar(&o.tty, "terminal", false, "the same as --tty")
	f.StringVar(&o.workdir, "workingdir", "", "the same as --workdir")
	f.BoolVar(&c.addHistory, "add-history", workcmd.History(),
		"add the command to the history of the working container's image")
	f.StringArrayVar(&c.mounts, "mount", nil,
		"in a working container: type=bind|cache|tmpfs,..., as RUN --mount has them; a bind's source is on the host")
	f.StringVar(&c.contextDir, "contextdir", "",
		"directory below which the relative sources of --mount are (default this one)")
	f.StringVar(&c.isolation, "isolation", "", "native, oci, chroot or rootless: cooper's own sandbox is used with all")
	f.StringVar(&c.runtime, "runtime", "", "OCI runtime that runs the command: crun, runc or a path")
	f.BoolVar(&c.noPivot, "no-pivot", false, "without effect")
	f.StringArrayVar(&c.runtimeFlags, "runtime-flag", nil, "without effect: cooper says what a runtime is told")
	for _, name := range []string{"terminal", "workingdir", "no-pivot", "runtime-flag"} {
		f.Lookup(name).Hidden = true
	}
}

// isContainer tells whether the command is run in a working container: if there is one of that name, and --rm doesn't
// say that the name is an image's.
func (o *runOptions) isContainer(ctx context.Context, s *build.Session, name string) (bool, error) {
	if o.flags.Changed("rm") {
		return false, nil
	}
	return working.Has(ctx, s, name)
}

// refuse refuses flags that were given although they mean nothing here.
func (o *runOptions) refuse(why string, names ...string) error {
	for _, name := range names {
		if o.flags.Changed(name) {
			return command.Usagef("--%s %s", name, why)
		}
	}
	return nil
}

// onlyContainers refuses flags that are about working containers.
func (o *runOptions) onlyContainers() error {
	return o.refuse("is for working containers, and the name is an image's\nhint: cooper from IMAGE makes one",
		"add-history", "mount", "contextdir", "isolation", "runtime")
}

// check refuses what a command in a working container can't have.
func (o *runOptions) checkContainer() error {
	if err := o.refuse("is for images, and the name is a working container's\nhint: --rm says that it is an image's",
		"entrypoint", "read-only", "pull", "platform"); err != nil {
		return err
	}
	c := o.container
	if _, ok := working.ParseIsolation(c.isolation); !ok {
		return command.Usagef("--isolation=%s: must be native, oci, chroot or rootless", c.isolation)
	}
	return nil
}

// runningIn is a command for a working container.
type runningIn struct {
	args []string
	// req has what the flags say of commands wherever they are run.
	req   tryout.Request
	shown *untilBegun
}

// runIn runs a command in a working container.
func (o *runOptions) runIn(ctx context.Context, env command.Env, s *build.Session, in runningIn) (err error) {
	if err := errors.Join(in.shown.begin(), o.checkContainer()); err != nil {
		return err
	}
	if len(in.args) > 1 && in.args[1] == "--" {
		in.args = append(in.args[:1:1], in.args[2:]...)
	}
	c, err := working.Open(ctx, s, in.args[0], in.shown)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	options, err := o.containerOptions(ctx, env, c, in.shown)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, options.StepNS.Joined.Close()) }()
	cmd := working.Command{
		Args: in.args[1:], Env: in.req.Command.Env, Workdir: o.workdir, User: o.user, Hostname: o.sandbox.Shared.Hostname,
		Term: os.Getenv("TERM"), AddHistory: o.container.addHistory, Signal: signalOf,
	}
	for _, text := range o.container.mounts {
		if err := working.AddMount(text, o.container.contextDir, &cmd, &options); err != nil {
			return command.Usage(err)
		}
	}
	tty := o.tty
	if !o.flags.Changed("tty") && !o.flags.Changed("terminal") && !options.Cached {
		tty = terminal.Is(env.Stdin) && terminal.Is(env.Stdout)
	}
	status, err := c.Run(ctx, options, cmd, working.Streams{
		Stdin: env.Stdin, Stdout: env.Stdout, Stderr: env.Stderr, Interactive: options.Run.Runtime == nil, Terminal: tty,
	})
	switch {
	case errors.Is(err, working.ErrNoCommand):
		return command.Usage(err)
	case err != nil:
		return endInContainer(err)
	case status != 0:
		return command.StatusError(status)
	}
	return nil
}

// endInContainer gives the error of a command that didn't end by itself its status.
func endInContainer(err error) error {
	if stopped := new(command.Interrupted); errors.As(err, stopped) {
		return command.StatusError(command.ExitSignal + int(stopped.Signal))
	}
	return command.Ending(err, working.StatusOf(err))
}

// containerOptions are the settings of the container's commands together with those of the flags.
func (o *runOptions) containerOptions(ctx context.Context, env command.Env, c *working.Container,
	shown *untilBegun) (opts working.Options, err error) {
	opts = working.Options{Cached: workcmd.Cached(), Did: workcmd.Did}
	kept, flags := c.State.Sandbox(), o.sandbox
	flags.AddHosts = append(kept.AddHosts, flags.AddHosts...)
	flags.Limits = append(kept.Limits, flags.Limits...)
	flags.Volumes = append(kept.Volumes, flags.Volumes...)
	flags.CapAdd, flags.CapDrop = append(kept.CapAdd, flags.CapAdd...), append(kept.CapDrop, flags.CapDrop...)
	if len(flags.DNS)+len(flags.DNSSearch)+len(flags.DNSOptions) == 0 {
		flags.DNS, flags.DNSSearch, flags.DNSOptions = kept.DNS, kept.DNSSearch, kept.DNSOptions
	}
	if flags.ShmSize == "" {
		flags.ShmSize = kept.ShmSize
	}
	if err := o.takeLimits(kept.Takes); err != nil {
		return opts, err
	}
	flags.Takes = o.sandbox.Takes
	if !o.flags.Changed("network") && kept.Network != "" {
		flags.Network = kept.Network
	}
	flags.Volumes = slices.Clone(flags.Volumes)
	for i, v := range flags.Volumes {
		flags.Volumes[i] = absolute(v)
	}
	if flags.Runtime = o.container.runtime; flags.Runtime == "" {
		flags.Isolation = ""
	}
	if opts.Run, err = flags.Options(); err != nil {
		return opts, command.Usage(err)
	}
	//nolint:contextcheck // a runtime that is asked for its version ends by itself
	if opts.Run.Runtime, err = flags.FindRuntime(); err != nil {
		return opts, err
	}
	var note string
	opts.StepNS, note, err = o.userns.StepNS(ctx, env)
	for _, text := range append(flags.Notes, note) {
		if text != "" {
			fmt.Fprintf(shown.env.Errs(), "cooper: %s\n", text)
		}
	}
	return opts, err
}

// takeLimits gives flags that weren't given the limits that the container has kept.
func (o *runOptions) takeLimits(t working.Takes) error {
	for name, value := range map[string]any{"memory": t.Memory, "memory-swap": t.MemorySwap, "cpu-shares": t.CPUShares,
		"cpu-period": t.CPUPeriod, "cpu-quota": t.CPUQuota, "cpuset-cpus": t.CPUs, "cpuset-mems": t.Nodes,
		"cgroup-parent": t.CgroupParent} {
		text := fmt.Sprint(value)
		if text == "0" && !strings.HasPrefix(name, "cpuset") || text == "" || o.flags.Changed(name) {
			continue
		}
		if err := o.flags.Lookup(name).Value.Set(text); err != nil {
			return command.Usagef("the container's %s is %s: %w", name, text, err)
		}
	}
	return nil
}

// usual gives what other tools write in another way the form that it has here.
func (o *runOptions) usual() {
	for i, v := range o.sandbox.Volumes {
		o.sandbox.Volumes[i] = absolute(v)
	}
}

// absolute makes the host's path of a volume absolute, as buildah does.
func absolute(volume string) string {
	source, rest, ok := strings.Cut(volume, ":")
	if !ok || !strings.HasPrefix(source, ".") {
		return volume
	}
	here, err := os.Getwd()
	if err != nil {
		return volume
	}
	return here + "/" + source + ":" + rest
}
