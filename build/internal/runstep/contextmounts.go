package runstep

import (
	"context"
	"errors"
	"os"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/fileop"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
)

// seenContexts holds what the bind mounts of contexts show just before the step runs; lookAtContexts fills it.
type seenContexts map[contextMount]seenContext

type seenContext struct {
	// owners are the owners of the files, by IDs of this process's namespace.
	owners map[fileop.Owner]bool
	// print is the fingerprint of the files.
	print string
}

// contextMount names a context and the path in it that a bind mount shows.
type contextMount struct{ context, source string }

// lookAtContexts gives the fingerprint of all files that the step's bind mounts show of contexts; if it differs after
// the step, a file was changed meanwhile. It also finds the owners of the files and stores them in seen, unless seen is
// nil.
func (r *Room) lookAtContexts(ctx context.Context, c runCall, seen seenContexts) (all string, err error) {
	for _, m := range c.op.Mounts {
		in := r.Inputs.Of(m.From, c.done)
		if m.Type != plan.MountBind || !in.Local() {
			continue
		}

		var found func(uid, gid uint32)
		owners := map[fileop.Owner]bool{}
		if seen != nil {
			found = func(uid, gid uint32) { owners[fileop.Owner{UID: uid, GID: gid}] = true }
		}

		look := func(ctx context.Context, o source.DigestOptions) (digest.Digest, error) {
			o.Owners = found
			return source.Fingerprint(ctx, o)
		}

		d, err := in.Digest(ctx, []string{m.Source}, look)
		if err != nil {
			return "", err
		}
		if seen != nil {
			seen[contextMount{m.From.Name, m.Source}] = seenContext{owners, d}
		}
		all += d
	}

	return all, nil
}

// showAsRoots decides how the files of a context are shown to the step as files of its root, whoever owns them on the
// host: by a copy if copies is set, through an ID-mapped mount with the namespace ns if that isn't nil, or else as they
// are.
func (r *Room) showAsRoots(dir *os.File, seen seenContext, c runCall) (copies bool, ns *os.File, err error) {
	owners := seen.owners
	mine := len(owners) == 1 && owners[fileop.Owner{}]
	if c.ns.Shifted || mine {
		return c.ns.Shifted, nil, nil
	}

	// an ID map can map only one owner to root, and only real root may make an ID-mapped mount
	if len(owners) != 1 || r.Inputs.Roots.Identity.Process != nil {
		return true, nil, nil
	}

	one := userns.Range{Length: 1}
	root := userns.Mapping{UIDs: userns.Map{one}, GIDs: userns.Map{one}}
	for o := range owners {
		root.UIDs[0].Container, root.GIDs[0].Container = o.UID, o.GID
	}

	if c.ns.Mapping != nil {
		if root.UIDs[0].Host, root.GIDs[0].Host, err = c.ns.Mapping.ToHost(0, 0); err != nil {
			return false, nil, err
		}
	}
	if ns, err = overlay.NewUserNS(root); err != nil {
		return false, nil, err
	}

	view, err := overlay.Bind(dir, overlay.BindOptions{UserNS: ns})
	if err == nil {
		return false, ns, view.Close()
	}
	if err = errors.Join(err, ns.Close()); errors.Is(err, overlay.ErrNoIDMap) {
		return true, nil, nil
	}

	return false, nil, err
}
