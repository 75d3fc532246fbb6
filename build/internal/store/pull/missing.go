package pull

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/userns"
)

// MissingIDs are the container IDs of an image's layers that the store's user can't map; see Options.
type MissingIDs struct {
	Image      string   // the name that it was asked for by
	UIDs, GIDs []uint32 // sorted, each once
}

func (e *MissingIDs) Error() string {
	what := "the image"
	if e.Image != "" {
		what = "image " + e.Image
	}
	return fmt.Sprintf("%s has files of %v, which this user's ranges do not reach", what,
		userns.IDs{UIDs: e.UIDs, GIDs: e.GIDs})
}

// unmapped tells whether IDs of an archive are beyond the user's ranges.
func unmapped(ranges *userns.Mapping, a *unpack.Archive) bool {
	uids, gids := beyond(ranges, a)
	return len(uids)+len(gids) > 0
}

// missingIDs names all IDs beyond the user's ranges in the layers that were fetched.
func (c *layerCopy) missingIDs(fetched []*pendingLayer) error {
	var all []*unpack.Archive
	for _, l := range fetched {
		if l.found != nil {
			all = append(all, l.found)
		}
	}
	uids, gids := beyond(c.opts.Mapping, all...)
	return &MissingIDs{Image: c.opts.Name, UIDs: uids, GIDs: gids}
}

// beyond are the IDs of archives that a mapping leaves out; nil has all.
func beyond(ranges *userns.Mapping, all ...*unpack.Archive) (uids, gids []uint32) {
	if ranges == nil {
		return nil, nil
	}
	u, g := map[uint32]bool{}, map[uint32]bool{}
	for _, o := range all {
		maps.Copy(u, o.UIDs)
		maps.Copy(g, o.GIDs)
	}
	return ranges.UIDs.Missing(slices.Collect(maps.Keys(u))),
		ranges.GIDs.Missing(slices.Collect(maps.Keys(g)))
}
