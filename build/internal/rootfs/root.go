package rootfs

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/userns"
)

var _ snapshot.Below = (*Root)(nil)

// A Root is the root file system after a step. It can be mounted at once. Its content ID is known when the channel
// known is closed, and all its layers are in the store when sealed is closed.
type Root struct {
	// below is the root this one adds to; nil at the bottom, which is an image or scratch.
	below *Root
	// base is the root of the image the chain starts from: itself at the bottom.
	base *Root
	// dir is the directory with the files that the step wrote, on which the next steps are mounted while the layer isn't
	// committed; nil if they have to wait for the commit.
	dir *os.File

	// steps stands for the steps that the root comes of, whatever the context holds: builds of one together.Group tell by
	// it that they do the same.
	steps string
	// made tells that a step of this build made the root; the root of an image or from the cache is not made.
	made bool
	// wrote holds the container IDs that own the files this step wrote, except those that a RUN command wrote itself (see
	// addedOwners). newRoot sets it; it doesn't change afterwards.
	wrote userns.IDs
	// fits is set by checkOwners once it has found that the map of the build's RUN steps has all owners of the root.
	fits atomic.Bool

	known  chan struct{}
	sealed chan struct{}

	// content is the content ID, unknown the reason why there is none. Both are written before known is closed, and never
	// after.
	content cache.ContentID
	unknown error
	// The fields below are written before sealed is closed, and never after.

	// own is the layer that this root adds to the one below; nil if it adds none.
	own *cache.Layer
	// merged tells that the uppermost layer holds the files of all layers between base and this root.
	merged bool
	// absent is set if the uppermost layer comes from a shared cache.
	absent *absent
	// layers are all layers of the root, the lowest first.
	layers []cache.Layer
	// created is when the step that made own ran; if own is nil, created of the root below.
	created time.Time
	err     error
}

// sealedRoot makes a root whose layers are in the store already.
func sealedRoot(below *Root, content cache.ContentID, layers []cache.Layer, created time.Time) *Root {
	done := make(chan struct{})
	close(done)
	r := &Root{below: below, known: done, sealed: done, content: content, layers: layers, created: created}
	if r.base, r.steps = r, string(content); below != nil {
		r.base, r.steps = below.base, below.steps
	}
	return r
}

// newRoot makes the root of a step that was just done.
func newRoot(t *Staged) (*Root, error) {
	r := &Root{below: t.Below, base: t.Below.base, made: true, wrote: t.wrote, known: make(chan struct{}),
		sealed: make(chan struct{})}
	dir, err := t.Snap.Pending()
	if err != nil {
		return nil, err
	}
	r.dir = dir
	return r, nil
}

// Wait waits until the root's layers are in the store.
func (r *Root) Wait(ctx context.Context) error {
	select {
	case <-r.sealed:
		return r.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// WaitKnown waits until the root's content ID is known.
func (r *Root) WaitKnown(ctx context.Context) error {
	select {
	case <-r.known:
		return r.unknown
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isKnown tells whether the root has its content ID.
func (r *Root) isKnown() bool {
	select {
	case <-r.known:
		return r.unknown == nil
	default:
		return false
	}
}

// IsSealed tells whether all layers of the root are in the store.
func (r *Root) IsSealed() bool {
	select {
	case <-r.sealed:
		return r.err == nil
	default:
		return false
	}
}

// Top is the store's ID of the uppermost layer of a sealed root; "" if it has none.
func (r *Root) Top() string {
	if len(r.layers) == 0 {
		return ""
	}
	return r.layers[len(r.layers)-1].ID
}

// depth is at least the number of the root's layers.
func (r *Root) depth() int {
	n := 0
	for ; r != nil; r = r.below {
		if r.IsSealed() {
			return n + len(r.layers)
		}
		n++
	}
	return n
}

// Stack gives the directories of the layers that aren't in the store yet, the uppermost first, and the IDs of the
// layers that are, the lowest first.
func (r *Root) Stack() (pending []*os.File, layers []string) {
	for ; r != nil; r = r.below {
		if r.IsSealed() {
			layers = make([]string, len(r.layers))
			for i, l := range r.layers {
				layers[i] = l.ID
			}
			return pending, layers
		}
		if r.dir != nil {
			pending = append(pending, r.dir)
		}
	}
	return pending, nil
}

// GoneError says that another program has removed a layer that the build uses.
type GoneError = snapshot.GoneError

// Lost tells whether an error is due to the removal of a layer or image from the store while the build used it, or to a
// shared cache that hadn't got what it had promised: another attempt may succeed.
func Lost(err error) bool {
	return errors.As(err, new(*GoneError)) || errors.As(err, new(*BrokenCacheError)) || store.Unknown(err)
}

// The methods below must only be called once the root is sealed.

// Layers are all layers, the lowest first. The caller must not change them.
func (r *Root) Layers() []cache.Layer { return r.layers }

// Own is the layer that this root adds to the one below; nil if it adds none.
func (r *Root) Own() *cache.Layer { return r.own }

// Merged tells that the uppermost layer holds the files of all layers between the base and this root.
func (r *Root) Merged() bool { return r.merged }

// Created is when the step that made Own ran; if Own is nil, Created of the root below.
func (r *Root) Created() time.Time { return r.created }

// Content is the content ID; it may be read once WaitKnown has returned.
func (r *Root) Content() cache.ContentID { return r.content }

// Below is the root this one adds to; nil at the bottom, which is an image or scratch.
func (r *Root) Below() *Root { return r.below }

// Base is the root of the image the chain starts from: itself at the bottom.
func (r *Root) Base() *Root { return r.base }

// Above is the root that has more layers on r, which is sealed and is its base; created is when the last of them was
// made.
func (r *Root) Above(layers []cache.Layer, created time.Time) *Root {
	if len(layers) == 0 {
		return r
	}
	all := slices.Concat(r.layers, layers)
	var diffIDs []digest.Digest
	for _, l := range all {
		diffIDs = append(diffIDs, l.DiffID)
	}
	above := sealedRoot(r, cache.ImageContentID(diffIDs), all, created)
	above.own = &layers[len(layers)-1]
	return above
}
