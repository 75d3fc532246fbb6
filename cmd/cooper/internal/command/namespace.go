package command

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// Stays reports whether builds run where this process is: it is inside already, or root's and may mount.
func (e Env) Stays() bool { return e.Inside || userns.RootStays() }

// Enter runs this program again as root of the user's namespace, or of one below that of a root who may not mount, and
// returns its status as an error. It returns nil in a process that stays. handOver are variables for it.
func Enter(ctx context.Context, env Env, handOver ...string) error {
	if env.Stays() {
		return nil
	}
	code, err := RunInside(ctx, env, ChildOptions{Env: handOver})
	if err != nil {
		return err
	}
	return StatusError(code)
}

// Inherit has the process in the namespace get a descriptor by the same number.
func Inherit(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
	return err
}

// ChildOptions are for the process in the namespace.
type ChildOptions struct {
	// Stderr is the child's standard error; nil: it has this program's own.
	Stderr *os.File
	// Private says that the host's later mounts don't appear in the child's namespace.
	Private bool
	// Env are variables that the child gets besides this program's own, as NAME=VALUE.
	Env []string
}

// RunInside runs this program again as root of the user's namespace and gives its status.
func RunInside(ctx context.Context, env Env, o ChildOptions) (int, error) {
	who, mapping, err := UserMapping(ctx)
	if err != nil {
		return 0, err
	}
	uid, gid := userns.OwnIDs()
	stderr := o.Stderr
	if stderr == nil {
		stderr = env.Stderr
	}
	// The child reacts to signals; this process only passes them on, so its own context is not tied to them.
	return reexec.Enter(context.WithoutCancel(ctx), reexec.Options{
		Mapping: mapping, UID: uid, GID: gid, UserName: who.Name, MountPrivate: o.Private, KeepGroups: env.KeepGroups,
		Stdin: env.Stdin, Stdout: env.Stdout, Stderr: stderr, Env: append(userns.CallerEnv(), o.Env...),
	})
}

// UserMapping is that of the namespace that builds run in if they don't stay where they are started.
func UserMapping(ctx context.Context) (userns.User, userns.Mapping, error) {
	who, err := userns.ThisProcess()
	if ids := reexec.CheckIDs(); ids != nil {
		return who.Caller, userns.Mapping{}, ids
	}
	if err != nil && who.Root {
		return who.Caller, userns.Mapping{}, err
	}
	m, _, err := who.Enters(ctx)
	return who.Caller, m, err
}
