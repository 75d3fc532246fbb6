package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

// Environment variables by which containers/storage and podman know that they are in a user namespace, and whose.
const (
	envConfigured  = "_CONTAINERS_USERNS_CONFIGURED"
	envRootlessUID = "_CONTAINERS_ROOTLESS_UID"
	envRootlessGID = "_CONTAINERS_ROOTLESS_GID"
)

// stays reports whether builds run where this process is: it is inside already, or root's and may mount.
func (e Env) stays() bool { return e.Inside || userns.RootStays() }

// enter runs this program again as root of the user's namespace, or of one below that of a root who may not mount, and
// returns its status as an error. It returns nil in a process that stays. handOver are variables for it.
func enter(ctx context.Context, env Env, handOver ...string) error {
	if env.stays() {
		return nil
	}
	code, err := runInside(ctx, childOptions{env: handOver})
	if err != nil {
		return err
	}
	return statusError(code)
}

// childOptions are for the process in the namespace.
type childOptions struct {
	stderr  *os.File // nil: this process's own
	private bool     // the host's later mounts don't appear in it
	env     []string // variables for it
}

// runInside runs this program again as root of the user's namespace and gives its status.
func runInside(ctx context.Context, o childOptions) (int, error) {
	who, mapping, err := userMapping(ctx)
	if err != nil {
		return 0, err
	}
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	// The child reacts to signals; this process only passes them on, so its own context is not tied to them.
	return reexec.Enter(context.WithoutCancel(ctx), reexec.Options{
		Mapping: mapping, UID: uid, GID: gid, UserName: who.Name, Stderr: o.stderr, MountPrivate: o.private,
		Env: append([]string{
			envConfigured + "=done",
			fmt.Sprintf("%s=%d", envRootlessUID, uid),
			fmt.Sprintf("%s=%d", envRootlessGID, gid),
		}, o.env...),
	})
}

// userMapping is that of the namespace that builds run in if they don't stay where they are started. Root's has all IDs
// that there are.
func userMapping(ctx context.Context) (userns.Owner, userns.Mapping, error) {
	who := owner()
	if err := reexec.CheckIDs(); err != nil {
		return who, userns.Mapping{}, err
	}
	if userns.IsRoot() {
		own, err := userns.CurrentMapping()
		return who, own.Nested(), err
	}
	mapping, _, err := userns.FinderHere().UserMap(ctx, who, uint32(os.Getgid()))
	return who, mapping, err
}

// owner is the user who called, also inside the namespace.
func owner() userns.Owner {
	uid := os.Getuid()
	if outside, err := strconv.Atoi(os.Getenv(envRootlessUID)); err == nil {
		uid = outside
	}
	o := userns.Owner{ID: uint32(uid)}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		o.Name = u.Username
	}
	return o
}

// identity says who builds and in which namespaces. note is a line for the user, if there is anything to say.
func identity(ctx context.Context, env Env) (id build.Identity, note string, err error) {
	id.Owner = owner()
	if env.Inside {
		m, err := userns.CurrentMapping()
		id.Process = &m
		return id, "", err
	}
	if m, err := userns.CurrentMapping(); err != nil || !userns.InInitial(m) {
		// Root of a namespace that somebody else has made: the ranges of /etc/subuid don't exist in it.
		id.Process = &m
		return id, "", err
	}
	whose, sub, err := userns.Finder{}.FindRoot(ctx)
	if err == nil {
		m, err := userns.Finder{}.StepMap(whose, sub)
		id.Steps, id.Ranges = &m, whose
		return id, "", err
	}
	if !errors.Is(err, userns.ErrNoSubIDs) {
		return id, "", err
	}
	return id, "neither root nor containers has a line in /etc/subuid: RUN steps get no user namespace of their own " +
		"(usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 root changes that)", nil
}
