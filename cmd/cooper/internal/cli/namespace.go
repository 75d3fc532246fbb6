package cli

import (
	"context"
	"errors"
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// stays reports whether builds run where this process is: it is inside already, or root's and may mount.
func (e Env) stays() bool { return e.Inside || userns.RootStays() }

// enter runs this program again as root of the user's namespace, or of one below that of a root who may not mount, and
// returns its status as an error. It returns nil in a process that stays. handOver are variables for it.
func enter(ctx context.Context, env Env, handOver ...string) error {
	if env.stays() {
		return nil
	}
	code, err := runInside(ctx, env, childOptions{env: handOver})
	if err != nil {
		return err
	}
	return statusError(code)
}

// childOptions are for the process in the namespace.
type childOptions struct {
	stderr  *os.File // nil: this program's own
	private bool     // the host's later mounts don't appear in it
	env     []string // variables for it
}

// runInside runs this program again as root of the user's namespace and gives its status.
func runInside(ctx context.Context, env Env, o childOptions) (int, error) {
	who, mapping, err := userMapping(ctx)
	if err != nil {
		return 0, err
	}
	uid, gid := userns.OwnIDs()
	stderr := o.stderr
	if stderr == nil {
		stderr = env.Stderr
	}
	// The child reacts to signals; this process only passes them on, so its own context is not tied to them.
	return reexec.Enter(context.WithoutCancel(ctx), reexec.Options{
		Mapping: mapping, UID: uid, GID: gid, UserName: who.Name, MountPrivate: o.private,
		Stdin: env.Stdin, Stdout: env.Stdout, Stderr: stderr, Env: append(userns.CallerEnv(), o.env...),
	})
}

// userMapping is that of the namespace that builds run in if they don't stay where they are started.
func userMapping(ctx context.Context) (userns.Owner, userns.Mapping, error) {
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

// stepNS is the usual namespace of RUN steps. note is a line for the user, if there is anything to say.
func stepNS(ctx context.Context, env Env) (ns build.StepNS, note string, err error) {
	if env.Inside {
		return ns, "", nil
	}
	if here, err := userns.ThisProcess(); err != nil || !here.Initial {
		// Root of a namespace that somebody else has made: the ranges of /etc/subuid don't exist in it.
		return ns, "", err
	}
	whose, sub, err := userns.Finder{}.FindRoot(ctx)
	if err == nil {
		m, err := userns.Finder{}.StepMap(whose, sub)
		ns.Steps, ns.Ranges = &m, whose
		return ns, "", err
	}
	if !errors.Is(err, userns.ErrNoSubIDs) {
		return ns, "", err
	}
	return ns, "neither root nor containers has a line in /etc/subuid: RUN steps get no user namespace of their own " +
		"(usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 root changes that)", nil
}
