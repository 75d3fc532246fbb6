package depot

import (
	"context"
	"errors"
	"fmt"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/idranges"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/mend"
	"github.com/cooperbuild/cooper/build/internal/store/other"
	"github.com/cooperbuild/cooper/build/internal/store/pull"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/internal/store/shift"
)

// Depot is an open store with the packages that work on it.
type Depot struct {
	// Store holds the layers.
	Store *store.Store
	// Images finds and records images, Pull pulls them from registries and copies them from other stores.
	Images *images.Room
	Pull   *pull.Room
	// Removal removes things to free disk space.
	Removal *removal.Room
}

// Open opens a store, making it if it doesn't exist. It removes the files that killed builds left behind, and the
// layers that a crash of the machine has damaged. The caller closes the depot.
func Open(ctx context.Context, o store.Options) (*Depot, error) {
	s, err := store.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	d := newDepot(s)
	if err := d.prepare(ctx, o); err != nil {
		return nil, errors.Join(s.Unusable(err), d.Close())
	}
	return d, nil
}

// newDepot makes the depot of an open store.
func newDepot(s *store.Store) *Depot {
	i := images.New(s)
	return &Depot{Store: s, Images: i, Pull: pull.New(s, i), Removal: removal.New(s, i)}
}

func (d *Depot) prepare(ctx context.Context, o store.Options) error {
	if err := errors.Join(shift.New(d.Store).Sweep(ctx), idranges.New(d.Store).Sweep(ctx),
		d.Store.Parts().Uses.SweepBuilds(d.Images.RemoveHalf)); err != nil {
		return fmt.Errorf("remove what an earlier build left: %w", err)
	}
	if err := mend.New(d.Store, d.Images, d.Removal, o.Tell).Mend(ctx); err != nil {
		return err
	}
	return other.Tell(ctx, d.Store, o)
}

// Close closes the store.
func (d *Depot) Close() error { return d.Store.Close() }
