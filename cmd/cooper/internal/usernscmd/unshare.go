package usernscmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/stepflags"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/workcmd"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// The statuses of a command that can't be executed are those that shells give.
const (
	exitNotExecutable = 126
	exitNotFound      = 127
)

// envNested tells the process in the second namespace that it has arrived.
const envNested = "_COOPER_UNSHARE_NESTED"

// unshareOptions are the flags of unshare.
type unshareOptions struct {
	stepflags.Userns
	showMap bool
	// mounts are containers that are mounted for the command, [VARIABLE=]CONTAINER each.
	mounts []string
	store  build.StoreOptions
}

// NewUnshareCmd makes the command unshare.
func NewUnshareCmd(env command.Env) *cobra.Command {
	var o unshareOptions
	cmd := &cobra.Command{
		Use:   "unshare [--map] [--userns MODE] [--] [COMMAND [ARG...]]",
		Short: "Run a shell or a command in the user namespace of a build",
		Long: `Run a shell ($SHELL, else /bin/sh) or a command in the user namespace of a build: as its root, with the same
IDs. There, the files that steps have given to other users can be looked at, changed and removed. Mounts made
there are seen there only, and go with it.

The exit status is the command's, or 128 plus the number of the signal that ended it; 127 if there is no such command,
and 126 if it can't be executed. Signals are handed on.

With --userns or a map it is the namespace that RUN steps get with these flags, below that of the build; the command
is root there, too.

Root's builds run where they are started, so root needs no unshare but with --userns=private or a map; with --map it
is shown what the RUN steps of root's builds get.`,
		Example: `  cooper unshare
  cooper unshare rm -rf build-output
  cooper unshare --map
  cooper unshare --userns=keep-id cat /proc/self/uid_map`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.showMap && len(args) > 0 {
				return command.Usagef("--map runs no command, got %s", strings.Join(args, " "))
			}
			if len(args) > 0 && args[0] == "" {
				return command.Usagef("the command is an empty word\nhint: without a command, unshare runs a shell")
			}
			if o.showMap {
				return o.runMap(cmd.Context(), env)
			}
			return o.run(cmd.Context(), env, args)
		},
	}
	o.Register(cmd.Flags())
	cmd.Flags().BoolVar(&o.showMap, "map", false, "print the IDs of the namespace instead of entering it")
	cmd.Flags().StringArrayVarP(&o.mounts, "mount", "m", nil,
		"mount a working container for the command, [VARIABLE=]CONTAINER, and set the variable to the directory")
	command.AddStoreFlags(cmd.Flags(), &o.store)
	cmd.Flags().SetInterspersed(false) // what follows the command is its own
	return cmd
}

func (o *unshareOptions) run(ctx context.Context, env command.Env, args []string) error {
	if env.Inside && os.Getenv(envNested) != "" {
		if err := os.Unsetenv(envNested); err != nil {
			return fmt.Errorf("unset %s: %w", envNested, err)
		}
		return o.execute(ctx, env, args)
	}
	second, err := o.second(ctx)
	if err != nil {
		return err
	}
	switch {
	case second != nil && env.Stays():
		return enterSecond(ctx, env, *second)
	case env.Inside, env.Stays() && len(o.mounts) > 0:
		return o.execute(ctx, env, args)
	case env.Stays():
		return command.Usagef("unshare is for ordinary users: root's builds run where they are started\n" +
			"hint: run the command as it is; cooper unshare --map shows the IDs of RUN steps, cooper unshare --userns=private enters such a namespace")
	}
	code, err := command.RunInside(ctx, env, command.ChildOptions{Private: true})
	if err != nil {
		return err
	}
	return command.StatusError(code)
}

// second is the map, to intermediate IDs, of the namespace that the flags ask for below that of the build; nil: none.
func (o *unshareOptions) second(ctx context.Context) (*userns.Mapping, error) {
	r, err := o.resolved(ctx)
	if err != nil || r.Mode.Name == userns.ModeDefault {
		return nil, err
	}
	if r.Second == nil {
		return nil, nil
	}
	if err := stepflags.HasRoot(*r.Second, "unshare runs its command as root of the namespace"); err != nil {
		return nil, err
	}
	m, err := r.Second.Within(r.Outer)
	return &m, err
}

// resolved says which namespaces the flags, or the variables in their place, ask for. What only a build can choose is
// refused.
func (o *unshareOptions) resolved(ctx context.Context) (userns.Resolved, error) {
	finder := userns.Finder{}
	caller, err := stepflags.Caller(ctx, finder)
	if err != nil {
		return userns.Resolved{}, err
	}
	r, err := o.Resolve(ctx, caller, finder)
	switch {
	case err != nil:
		return r, err
	case r.Auto != nil:
		return r, command.Usagef(
			"--userns=%s: only a build has an image to size its namespace by\nhint: give a map: cooper userns show auto proposes one", r.Mode)
	case r.NSPath != "":
		return r, command.Usagef("--userns=%s: this namespace exists already\nhint: nsenter --user=%s enters it", r.Mode,
			r.NSPath)
	}
	return r, nil
}

// enterSecond runs this program again in a namespace below that of this process, which has the right to write its maps.
func enterSecond(ctx context.Context, env command.Env, m userns.Mapping) error {
	code, err := reexec.Enter(context.WithoutCancel(ctx), reexec.Options{Mapping: m, MountPrivate: true,
		Stdin: env.Stdin, Stdout: env.Stdout, Stderr: env.Stderr, Env: []string{envNested + "=1"}})
	if err != nil {
		return err
	}
	return command.StatusError(code)
}

// execute mounts the containers and becomes the command. The mounts go with the namespace; where there is none, root's
// stay.
func (o *unshareOptions) execute(ctx context.Context, env command.Env, args []string) error {
	if len(o.mounts) == 0 {
		return execute(env, args)
	}
	variables, err := workcmd.MountFor(ctx, env, o.store, o.mounts)
	if err != nil {
		return err
	}
	for _, v := range variables {
		name, value, _ := strings.Cut(v, "=")
		if err := os.Setenv(name, value); err != nil {
			return command.Usagef("--mount %s: %w", v, err)
		}
	}
	return execute(env, args)
}

// execute makes this process the command, so that the one outside waits for the command itself and its signals reach
// that.
func execute(env command.Env, args []string) error {
	if len(args) == 0 {
		shell := os.Getenv("SHELL")
		if shell == "" {
			shell = "/bin/sh"
		}
		args = []string{shell}
	}
	// The command goes on from the thread that executes it, and a thread that is younger than the namespace has no such
	// setting.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("set parent death signal: %w", err)
	}
	path, err := exec.LookPath(args[0])
	if err == nil || errors.Is(err, exec.ErrDot) {
		err = syscall.Exec(path, args, os.Environ())
	}
	if reason := new(exec.Error); errors.As(err, &reason) {
		err = reason.Err
	}
	fmt.Fprintf(env.Errs(), "cooper: execute %s: %v\n", args[0], err)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, exec.ErrNotFound) {
		return command.StatusError(exitNotFound)
	}
	return command.StatusError(exitNotExecutable)
}

func (o *unshareOptions) runMap(ctx context.Context, env command.Env) error {
	m, err := o.mapping(ctx, env)
	if err != nil {
		return err
	}
	if err := writeMapping(env.Out(), m); err != nil {
		return fmt.Errorf("write map: %w", err)
	}
	return nil
}

// mapping is the map, to host IDs, of the namespace that RUN steps are in.
func (o *unshareOptions) mapping(ctx context.Context, env command.Env) (userns.Mapping, error) {
	r, err := o.resolved(ctx)
	switch {
	case err != nil:
		return userns.Mapping{}, err
	case r.Mode.Name == userns.ModeDefault:
		return stepMapping(ctx, env)
	}
	return r.Composed()
}

// stepMapping is that map without any flags.
func stepMapping(ctx context.Context, env command.Env) (userns.Mapping, error) {
	if !env.Stays() {
		_, m, err := command.UserMapping(ctx)
		return m, err
	}
	ns, note, err := stepflags.StepNS(ctx, env)
	if err != nil {
		return userns.Mapping{}, err
	}
	if note != "" {
		fmt.Fprintln(env.Errs(), note)
	}
	if ns.Steps != nil {
		return *ns.Steps, nil
	}
	return userns.CurrentMapping()
}

func writeMapping(w io.Writer, m userns.Mapping) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "KIND\tCONTAINER\tHOST\tLENGTH")
	for _, kind := range []struct {
		name string
		ids  userns.Map
	}{{userns.KindUID, m.UIDs}, {userns.KindGID, m.GIDs}} {
		for _, r := range kind.ids {
			fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", kind.name, r.Container, r.Host, r.Length)
		}
	}
	return t.Flush()
}
