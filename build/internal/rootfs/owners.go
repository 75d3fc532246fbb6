package rootfs

import (
	"context"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/shift"
	"github.com/cooperbuild/cooper/userns"
)

// owners know who the files of a build's layers belong to. They are safe for concurrent use.
type owners struct {
	store    *store.Store
	identity Identity
	// known has the userns.IDs that own files in a layer, by the layer's ID; of and note fill it.
	known sync.Map
}

// note remembers the owners of a layer's files that are in the store's record of the layer.
func (o *owners) note(l store.Layer) {
	if l.Owners != nil {
		o.known.Store(l.ID, *l.Owners)
	}
}

// of gives the owners of the files in a layer of the store.
func (o *owners) of(ctx context.Context, id string) (userns.IDs, error) {
	if ids, ok := o.known.Load(id); ok {
		return ids.(userns.IDs), nil
	}
	ids, err := shift.New(o.store).Owners(ctx, id)
	if err == nil {
		o.known.Store(id, ids)
	}
	return ids, err
}

// added gives the owners that files of a root may have and files of the root below it may not. It waits for no
// commit: the owners that a COPY of this build wrote are known when it is done, and a RUN step can only write owners
// that its namespace maps.
func (o *owners) added(ctx context.Context, r *Root) (userns.IDs, error) {
	var layers []string
	switch {
	case r.made:
		return r.wrote, nil
	case r.merged: // a merged layer has only files of the roots below
	case r.own != nil:
		layers = []string{r.own.ID}
	case r.below == nil:
		for _, l := range r.layers {
			layers = append(layers, l.ID)
		}
	}
	var all userns.IDs
	for _, id := range layers {
		ids, err := o.of(ctx, id)
		if err != nil {
			return all, err
		}
		all = all.With(ids)
	}
	return all, nil
}

// check refuses a root with owners that the map of RUN steps leaves out: an ID-mapped mount would show them as
// nobody's, and a shifted copy couldn't be made. The ranges of --userns=auto are chosen so that they have them.
func (o *owners) check(ctx context.Context, r *Root, m *userns.Mapping) error {
	if r == nil || m == nil || o.identity.Auto != nil {
		return nil
	}
	for at := r; at != nil && !at.fits.Load(); at = at.below {
		ids, err := o.added(ctx, at)
		if err != nil {
			return err
		}
		if m.Missing(ids).Empty() {
			continue
		}
		path, missing, err := o.outsiders(ctx, at, *m)
		if err != nil {
			return err
		}
		if !missing.Empty() {
			return o.identity.Outsider(ctx, path, *m, missing)
		}
	}
	r.fits.Store(true)
	return nil
}

// outsiders gives the owners in a root's layers that a map leaves out, and the first file with such an owner. It waits
// for the layers, since a later step of the chain may have replaced the file.
func (o *owners) outsiders(ctx context.Context, r *Root, m userns.Mapping) (path string, missing userns.IDs,
	err error) {
	if err := r.Wait(ctx); err != nil {
		return "", missing, err
	}
	for _, l := range r.layers {
		ids, err := o.of(ctx, l.ID)
		if err != nil {
			return "", missing, err
		}
		lacking := m.Missing(ids)
		if lacking.Empty() {
			continue
		}
		missing = missing.With(lacking)
		if path != "" {
			continue
		}
		if path, err = shift.New(o.store).FileOf(ctx, l.ID, lacking); err != nil {
			return "", missing, err
		}
	}
	return path, missing, nil
}
