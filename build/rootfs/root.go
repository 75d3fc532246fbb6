package rootfs

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/snapshot"
	"github.com/cooperbuild/cooper/userns"
)

var _ snapshot.Below = (*Root)(nil)

// A Root is the root file system after a step. It can be mounted at once; its content ID is there when known is
// closed, its layers are in the store when sealed is.
type Root struct {
	// below is the root this one adds to; nil at the bottom, which is an image or scratch.
	below *Root
	// base is the root of the image the chain starts from: itself at the bottom.
	base *Root
	// dir is the directory that following steps are mounted on while the layer isn't committed; nil if they have to wait
	// for that.
	dir *os.File

	// made says that a step of this build has made it, and wrote who owns files that this step has written or replaced; a
	// RUN step's own doings are left out, see addedOwners.
	made  bool
	wrote userns.IDs
	// fits is set once all owners in it are known to have a place in the map of the build's RUN steps.
	fits atomic.Bool

	known  chan struct{}
	sealed chan struct{}

	// Both are final once known is closed: the content ID, and why there is none.
	content cache.ContentID
	unknown error
	// What follows is final once sealed is closed.

	// own is the layer this root adds; nil if it adds none.
	own *cache.Layer
	// merged says that the uppermost layer stands for all those between base and this root.
	merged bool
	// layers are all the layers, bottom first.
	layers []cache.Layer
	// created is when the step that made own was run; without one, that of the root below.
	created time.Time
	err     error
}

// sealedRoot makes a root whose layers are in the store already.
func sealedRoot(below *Root, content cache.ContentID, layers []cache.Layer, created time.Time) *Root {
	done := make(chan struct{})
	close(done)
	r := &Root{below: below, known: done, sealed: done, content: content, layers: layers, created: created}
	if r.base = r; below != nil {
		r.base = below.base
	}
	return r
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

// WaitKnown waits until the root's content ID is there.
func (r *Root) WaitKnown(ctx context.Context) error {
	select {
	case <-r.known:
		return r.unknown
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// IsSealed tells whether the layers are in the store, all of them.
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

// Stack gives the directories of layers that aren't in the store yet, uppermost first, and the IDs of those that are,
// bottom first.
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

// Lost tells whether an error comes of something in the store that was removed while the build used it.
func Lost(err error) bool { return errors.As(err, new(*GoneError)) || store.Unknown(err) }

// CheckStill refuses what was made of layers that somebody removed meanwhile.
func (b *Roots) CheckStill(r *Root) error { return b.Snapshots.CheckStill(r.Top()) }

// explainGone puts before an error of a step that layers were removed under it, which comes out as all kinds of errors.
func (b *Roots) explainGone(below *Root, err error) error {
	if !below.IsSealed() {
		below = below.base
	}
	return errors.Join(b.CheckStill(below), err)
}

// The following hold once the root is sealed.

// Layers are all the layers, bottom first. The caller doesn't change them.
func (r *Root) Layers() []cache.Layer { return r.layers }

// Own is the layer this root adds to the one below; nil if it adds none.
func (r *Root) Own() *cache.Layer { return r.own }

// Merged says that the uppermost layer stands for all those between the base and this root.
func (r *Root) Merged() bool { return r.merged }

// Created is when the step that made Own was run; without one, that of the root below.
func (r *Root) Created() time.Time { return r.created }

// Content is the content ID; it is there once WaitKnown has returned.
func (r *Root) Content() cache.ContentID { return r.content }

// Below is the root this one adds to; nil at the bottom, which is an image or scratch.
func (r *Root) Below() *Root { return r.below }

// Base is the root of the image the chain starts from: itself at the bottom.
func (r *Root) Base() *Root { return r.base }
