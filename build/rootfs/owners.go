package rootfs

import (
	"context"
	"fmt"
	"strings"

	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/shift"
	"github.com/cooperbuild/cooper/userns"
)

// noteOwners remembers the owners of a layer's files that are in the store's record of the layer.
func (b *Roots) noteOwners(l store.Layer) {
	if l.Owners != nil {
		b.owners.Store(l.ID, *l.Owners)
	}
}

// layerOwners gives the owners of the files in a layer of the store.
func (b *Roots) layerOwners(ctx context.Context, id string) (userns.IDs, error) {
	if ids, ok := b.owners.Load(id); ok {
		return ids.(userns.IDs), nil
	}
	ids, err := shift.New(b.Store).Owners(ctx, id)
	if err == nil {
		b.owners.Store(id, ids)
	}
	return ids, err
}

// addedOwners gives the owners that files of a root may have and files of the root below it may not. It waits for no
// commit: the owners that a COPY of this build wrote are known when it is done, and a RUN step can only write owners
// that its namespace maps.
func (b *Roots) addedOwners(ctx context.Context, r *Root) (userns.IDs, error) {
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
		ids, err := b.layerOwners(ctx, id)
		if err != nil {
			return all, err
		}
		all = all.With(ids)
	}
	return all, nil
}

// checkOwners refuses a root with owners that the map of RUN steps leaves out: an ID-mapped mount would show them as
// nobody's, and a shifted copy couldn't be made. The ranges of --userns=auto are chosen so that they have them.
func (b *Roots) checkOwners(ctx context.Context, r *Root, m *userns.Mapping) error {
	if r == nil || m == nil || b.Identity.Auto != nil {
		return nil
	}
	for at := r; at != nil && !at.fits.Load(); at = at.below {
		ids, err := b.addedOwners(ctx, at)
		if err != nil {
			return err
		}
		if m.Missing(ids).Empty() {
			continue
		}
		path, missing, err := b.outsiders(ctx, at, *m)
		if err != nil {
			return err
		}
		if !missing.Empty() {
			return b.outsiderError(ctx, path, *m, missing)
		}
	}
	r.fits.Store(true)
	return nil
}

// outsiders gives the owners in a root's layers that a map leaves out, and the first file with such an owner. It waits
// for the layers, since a later step of the chain may have replaced the file.
func (b *Roots) outsiders(ctx context.Context, r *Root, m userns.Mapping) (path string, missing userns.IDs, err error) {
	if err := r.Wait(ctx); err != nil {
		return "", missing, err
	}
	for _, l := range r.layers {
		ids, err := b.layerOwners(ctx, l.ID)
		if err != nil {
			return "", missing, err
		}
		of := m.Missing(ids)
		if of.Empty() {
			continue
		}
		missing = missing.With(of)
		if path != "" {
			continue
		}
		if path, err = shift.New(b.Store).FileOf(ctx, l.ID, of); err != nil {
			return "", missing, err
		}
	}
	return path, missing, nil
}

// outsiderError gives the error, with the remedy, for a file whose owner the map of RUN steps leaves out.
func (b *Roots) outsiderError(ctx context.Context, path string, m userns.Mapping, missing userns.IDs) error {
	if id := b.Identity; !id.Asked {
		return fmt.Errorf("the owner of %q is outside the IDs that RUN steps have: %w\nhint: or build with --userns=host, where root of a step is root of the machine",
			path, userns.Finder{}.Check(ctx, id.Ranges, m, missing))
	}
	return fmt.Errorf("the owner of %q is outside the ID map %q, which lacks %v\n"+
		"hint: the map has to have them: IDs 0 to %d are a range of length %d", path,
		strings.ReplaceAll(m.UIDs.String(), "\n", ", "),
		missing, missing.Highest(), uint64(missing.Highest())+1)
}
