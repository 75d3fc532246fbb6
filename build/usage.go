package build

import (
	"context"
	"errors"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/depot"
)

// DiskUsage is what a store holds.
type DiskUsage = reclaim.Usage

// Usage says what a store holds, which it measures. One that doesn't exist holds nothing, and is not made.
func Usage(ctx context.Context, o StoreOptions) (u DiskUsage, err error) {
	u = reclaim.Summarize(nil)
	err = withExisting(ctx, o, func(d *depot.Depot) (err error) {
		u, err = reclaim.Measure(ctx, d)
		return err
	})
	return u, err
}

// PruneRequest says what is to be removed from a store.
type PruneRequest struct {
	Store  StoreOptions
	Policy disk.Policy
	// Sure is asked with what would go, before anything does; nil: it goes.
	Sure func(items []disk.Item) (bool, error)
}

// Prune removes what a policy chooses, and returns what is gone, with an error too. Whatever is in use stays.
func Prune(ctx context.Context, req PruneRequest) (gone []disk.Item, err error) {
	err = withExisting(ctx, req.Store, func(d *depot.Depot) (err error) {
		gone, err = reclaim.Prune(ctx, d, req.Policy, req.Sure)
		return err
	})
	return gone, err
}

// withExisting opens a store for do, if there is one.
func withExisting(ctx context.Context, o StoreOptions, do func(*depot.Depot) error) error {
	if there, err := store.Exists(o); err != nil || !there {
		return err
	}
	d, err := openStore(ctx, o)
	if err != nil {
		return err
	}
	err = do(d)
	return machineError(d.Store, errors.Join(err, d.Store.Close()))
}
