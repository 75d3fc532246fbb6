package rootfs

import (
	"context"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/rootfs/builder"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/userns"
)

// Identity says which user builds.
type Identity = builder.Identity

// StepNS says in which user namespace RUN steps run.
type StepNS = builder.StepNS

// NS is the user namespace of a RUN step below cooper's own.
type NS = snapshot.NS

// namespaces give RUN steps their user namespaces. The build's Identity says whether steps get one; whether the store's
// file system can show files with other owners is found out once in a build. They are safe for concurrent use.
type namespaces struct {
	identity Identity
	ranges   *ranges
	progress progress.Sink

	mu sync.Mutex
	// mapped is set by Namespace once it has found that RUN steps can have a user namespace of their own.
	mapped bool
	// shifted tells that steps in that namespace get copies of the layers with shifted owners (by chown), because the file
	// system can't do ID-mapped mounts. It doesn't change once mapped is set.
	shifted bool
	// unmapped tells that steps get no namespace of their own, although the default gives them one; see withoutIDMap.
	unmapped bool
}

// of gives the user namespace of a step that needs these IDs.
func (n *namespaces) of(ctx context.Context, t *Staged, need Need) (NS, error) {
	m, err := n.stepMap(ctx, t, need)
	if err != nil {
		return NS{}, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case m == nil || n.mapped:
		return n.known(m), nil
	case n.identity.Process != nil: // only the namespace that owns a file system may mount it ID-mapped
		n.mapped, n.shifted = true, true
		return n.known(m), nil
	}
	can, err := snapshot.CanMap(t.Snap, *m)
	if err == nil && !can {
		n.withoutIDMap()
	}
	n.mapped = err == nil
	return n.known(m), err
}

// stepMap gives the mapping of a RUN step's own user namespace; nil if the step gets none.
func (n *namespaces) stepMap(ctx context.Context, t *Staged, need Need) (*userns.Mapping, error) {
	if n.identity.Auto == nil {
		return n.identity.Steps, nil
	}
	return n.ranges.stepMap(ctx, t, need)
}

// known gives the namespace with a mapping, once mapped or unmapped is set.
func (n *namespaces) known(m *userns.Mapping) NS {
	if n.unmapped || m == nil {
		return NS{}
	}
	return NS{Mapping: m, Joined: n.identity.Joined, Shifted: n.shifted}
}

// withoutIDMap decides how root's steps run on a file system without ID-mapped mounts. If the user has asked for a
// namespace, steps get shifted copies of the files, which is slow; otherwise they get no namespace.
func (n *namespaces) withoutIDMap() {
	if n.identity.Asked {
		n.shifted = true
		return
	}
	n.unmapped = true
	n.progress.Emit(progress.Note{Text: "the store's file system can't be ID-mapped: RUN steps get no user namespace of their own"})
}
