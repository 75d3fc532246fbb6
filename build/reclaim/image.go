package reclaim

import (
	"context"
	"errors"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/shift"
)

// RemoveImage removes an image with the layers that nothing else has, and the cache's records and shifted copies of
// these; see removal.Room.RemoveImage for the errors.
func RemoveImage(ctx context.Context, d *depot.Depot, id string, names []string) (err error) {
	k, err := newKeepers(d)
	if err != nil {
		return err
	}
	if err := d.Removal.UseReserve(); err != nil {
		return err
	}
	unlock, err := d.Store.Parts().Uses.LockRemoval(ctx, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	gone, err := d.Removal.RemoveImage(ctx, id, names)
	if len(gone) == 0 {
		return err
	}
	records, listErr := k.cache.DiskItems()
	err = errors.Join(err, listErr, shift.New(d.Store).Sweep(ctx))
	for _, r := range records {
		if slices.Contains(gone, r.On) {
			err = errors.Join(err, k.cache.Remove(r.ID))
		}
	}
	return err
}
