package rootfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/idranges"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/accounts"
)

// ranges are the ranges of IDs that a build with --userns=auto uses alone. They are safe for concurrent use.
type ranges struct {
	store     *store.Store
	identity  Identity
	snapshots *snapshot.Room
	owners    *owners

	mu    sync.Mutex
	taken *idranges.Ranges // nil until the first step needs some
	// size is the number of IDs in chosen, container IDs to host IDs; 0 until a range was chosen.
	size   uint32
	chosen userns.Mapping
	// steps is chosen, split into ranges that the kernel accepts in cooper's own namespace.
	steps userns.Mapping
}

// stepMap gives the mapping of a step's own user namespace, which has all IDs that the step needs.
func (r *ranges) stepMap(ctx context.Context, t *Staged, n Need) (*userns.Mapping, error) {
	need, err := r.need(ctx, t, n)
	if err != nil {
		return nil, err
	}
	chosen, steps, err := r.choose(ctx, need)
	if err != nil {
		return nil, err
	}
	if !chosen.Missing(need.layers).Empty() {
		for _, root := range need.roots {
			path, missing, err := r.owners.outsiders(ctx, root, chosen)
			if err != nil {
				return nil, err
			}
			if !missing.Empty() {
				return nil, outside(fmt.Sprintf("the owner of %q", path), missing)
			}
		}
	}

	if missing := chosen.Missing(need.step); !missing.Empty() {
		return nil, outside("the step's user, or the owner of a mount,", missing)
	}
	return &steps, nil
}

// autoNeed lists the container IDs that the map of a step must have.
type autoNeed struct {
	roots  []*Root    // the root that the step runs on, and those that its mounts show
	layers userns.IDs // owners of the files in the layers of roots
	step   userns.IDs // the user and group that the step runs as, and owners of files in its other mounts
	named  uint32     // the highest ID in the image's /etc/passwd and /etc/group
}

// highest is the highest ID of the layers and the step.
func (n autoNeed) highest() uint32 {
	return slices.Max(slices.Concat([]uint32{0}, n.layers.UIDs, n.layers.GIDs, n.step.UIDs, n.step.GIDs))
}

// Need says which IDs a step needs besides those of the root that it runs on.
type Need struct {
	// Roots are the roots that its mounts show.
	Roots []*Root
	// IDs are the owners of files in its other mounts.
	IDs userns.IDs
	// User is the user that it runs as, in the form of USER.
	User string
}

// need finds out what a step needs.
func (r *ranges) need(ctx context.Context, t *Staged, need Need) (n autoNeed, err error) {
	if t.Below != nil {
		n.roots = append(n.roots, t.Below)
	}

	n.roots, n.step = append(n.roots, need.Roots...), need.IDs
	for _, top := range n.roots {
		for at := top; at != nil; at = at.below {
			ids, err := r.owners.added(ctx, at)
			if err != nil {
				return n, err
			}
			n.layers = n.layers.With(ids)
		}
	}
	if t.Below == nil {
		return n, nil
	}
	view, err := r.snapshots.View(ctx, t.Below, NS{})
	if err == nil && view.Dir == nil { // an empty root has no view, and its steps have a user nevertheless
		path, _ := t.Snap.Files()
		view.Dir, err = fsys.OpenDir(path)
		view.Release = view.Dir.Close
	}

	if err != nil {
		return n, err
	}
	defer func() { err = errors.Join(err, view.Release()) }()
	err = n.addNamed(view.Dir, need.User, r.identity.Auto.Limit()) // writes fields of n: called before the return reads n
	return n, err
}

// addNamed sets named from /etc/passwd and /etc/group in the root dir, and adds the IDs of the step's user. IDs above
// limit are left out.
func (n *autoNeed) addNamed(dir *os.File, user string, limit uint32) (err error) {
	if n.named, err = accounts.HighestID(dir, limit); err != nil {
		return err
	}
	u, err := executor.LookupUser(dir, user)
	if err != nil {
		return nil //nolint:nilerr // the executor looks the user up again and reports its error as the step's
	}
	n.step.UIDs = append(n.step.UIDs, u.UID)
	n.step.GIDs = append(append(n.step.GIDs, u.GID), u.Groups...)
	return nil
}

// choose gives the build's mapping, and the same mapping in ranges that the kernel accepts. It chooses the range at
// the first step, and again when a step needs more IDs; the new range may overlap the old one, which this build holds
// anyway.
func (r *ranges) choose(ctx context.Context, need autoNeed) (chosen, steps userns.Mapping, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := userns.AutoSize(need.highest(), need.named)
	if fixed := r.identity.Auto.Size; fixed != 0 {
		size = fixed
	}
	if size <= r.size {
		return r.chosen, r.steps, nil
	}
	if r.taken == nil {
		if r.taken, err = idranges.New(r.store).Begin(ctx); err != nil {
			return chosen, steps, err
		}
	}
	chosen, err = r.taken.Add(ctx, func(used []userns.Mapping) (userns.Mapping, error) {
		return r.identity.Auto.Allocate(size, used)
	})
	if highest := max(need.highest(), need.named); err != nil && size == highest+1 { // the image is why
		err = fmt.Errorf("the image's highest owner or user is %d: %w", highest, err)
	}
	if err != nil {
		return chosen, steps, err
	}

	steps = chosen
	if outer := r.identity.Process; outer != nil {
		if steps, err = chosen.Within(*outer); err != nil {
			return chosen, steps, err
		}
	}
	r.size, r.chosen, r.steps = size, chosen, steps
	return chosen, steps, nil
}

// close gives the IDs back.
func (r *ranges) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken == nil {
		return nil
	}
	return r.taken.Close()
}

// outside gives the error for IDs that a range given by the user leaves out; who has them.
func outside(who string, missing userns.IDs) error {
	return fmt.Errorf("%s is outside the step's namespace: it lacks %v; it takes --userns=auto:size=%d, or leave size out",
		who, missing, uint64(missing.Highest())+1)
}
