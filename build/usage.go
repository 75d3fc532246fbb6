package build

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/store"
)

// DiskUsage is what a store holds.
type DiskUsage struct {
	// Kinds has one entry for each kind, in the order of disk.Kinds, and Items what they count, largest first within a kind.
	Kinds []KindUsage
	Items []disk.Item
}

// KindUsage is what the store holds of one kind.
type KindUsage struct {
	Kind  disk.Kind
	Count int
	// Bytes are allocated on disk; Reclaimable of them could be given back now.
	Bytes, Reclaimable int64
	// LastUse is zero if nobody knows.
	LastUse time.Time
}

// storeItems is what a store holds. One that doesn't exist holds nothing, and is not made.
func storeItems(ctx context.Context, o StoreOptions) (items []disk.Item, err error) {
	if there, err := store.Exists(o); err != nil || !there {
		return nil, err
	}
	st, err := openStore(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = machineError(st, errors.Join(err, st.Close())) }()
	k, err := newKeepers(st)
	if err != nil {
		return nil, err
	}
	return k.items(ctx, store.LookAll)
}

// Usage says what a store holds, which it measures.
func Usage(ctx context.Context, o StoreOptions) (u DiskUsage, err error) {
	u.Items, err = storeItems(ctx, o)
	if err != nil {
		return u, err
	}
	slices.SortStableFunc(u.Items, func(a, b disk.Item) int {
		if a.Kind != b.Kind {
			return slices.Index(disk.Kinds(), a.Kind) - slices.Index(disk.Kinds(), b.Kind)
		}
		return int(min(1, max(-1, b.Size.Bytes-a.Size.Bytes)))
	})
	free := disk.Choose(u.Items, disk.Policy{Shared: true})
	for _, kind := range disk.Kinds() {
		all := ofKind(u.Items, kind)
		ku := KindUsage{Kind: kind, Count: len(all), Bytes: disk.Total(all), Reclaimable: disk.Freed(ofKind(free, kind))}
		for _, i := range all {
			if i.LastUse.After(ku.LastUse) {
				ku.LastUse = i.LastUse
			}
		}
		u.Kinds = append(u.Kinds, ku)
	}
	return u, nil
}

func ofKind(items []disk.Item, kind disk.Kind) (some []disk.Item) {
	for _, i := range items {
		if i.Kind == kind {
			some = append(some, i)
		}
	}
	return some
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
	if there, err := store.Exists(req.Store); err != nil || !there {
		return nil, err
	}
	st, err := openStore(ctx, req.Store)
	if err != nil {
		return nil, err
	}
	defer func() { err = machineError(st, errors.Join(err, st.Close())) }()
	k, err := newKeepers(st)
	if err != nil {
		return nil, err
	}
	if err := st.UseReserve(); err != nil {
		return nil, err
	}
	items, err := k.items(ctx, store.LookAll)
	if err != nil {
		return nil, err
	}
	chosen := disk.Choose(items, req.Policy)
	if req.Sure != nil {
		if sure, err := req.Sure(chosen); err != nil || !sure {
			return nil, err
		}
	}
	return k.remove(ctx, chosen, true)
}
