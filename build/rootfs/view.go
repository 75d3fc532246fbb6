package rootfs

import (
	"context"
	"os"
	"strconv"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/store/snapshot"
	"github.com/cooperbuild/cooper/executor/overlay"
)

// View opens a read-only view of a root, to look at or to copy from. The caller calls Release on it when done. The view
// of an empty root has no directory. With a namespace it shows the owners that a step in that namespace sees.
func (b *Roots) View(ctx context.Context, r *Root, ns NS) (snapshot.View, error) {
	if err := b.checkOwners(ctx, r, ns.Mapping); err != nil {
		return snapshot.View{}, err
	}
	defer b.checkSpace(ns)
	return b.Snapshots.View(ctx, r, ns)
}

// Overlay mounts an overlay of directories that aren't layers: those that this program made for a step to see.
func (b *Roots) Overlay(o overlay.Options) (*os.File, error) {
	o.UserXattr = o.UserXattr || b.Identity.Process != nil
	return b.Snapshots.Overlay(o)
}

// NewKey starts a cache key with the parts that all steps of this build have in common.
func (b *Roots) NewKey(kind string) *cache.KeyBuilder {
	return b.addSourceDate(cache.NewKey(kind))
}

// addSourceDate adds SOURCE_DATE_EPOCH to a key, so that layers made with another date are others.
func (b *Roots) addSourceDate(k *cache.KeyBuilder) *cache.KeyBuilder {
	if d := b.SourceDate; d != nil {
		k.Add("source date", strconv.FormatInt(d.Unix(), 10))
	}
	return k
}
