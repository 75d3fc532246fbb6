package reclaim

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
)

// Usage is what a store holds.
type Usage struct {
	// Kinds has one entry for each kind, in the order of disk.Kinds, and Items the items that these count, largest first
	// within a kind.
	Kinds []KindUsage
	Items []disk.Item
	// Projects are the contexts whose builds have made items, the largest first.
	Projects []ProjectUsage
}

// ProjectUsage is what a store holds of what builds of a context have made.
type ProjectUsage struct {
	Project string
	Count   int
	Bytes   int64 // on disk
}

// projects adds up the items of each context.
func projects(items []disk.Item) (all []ProjectUsage) {
	at := map[string]int{}
	for _, i := range items {
		if i.Project == "" {
			continue
		}
		n, known := at[i.Project]
		if !known {
			n = len(all)
			at[i.Project], all = n, append(all, ProjectUsage{Project: i.Project})
		}
		all[n].Count++
		all[n].Bytes += i.Size.Bytes
	}
	slices.SortFunc(all, func(a, b ProjectUsage) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Project, b.Project))
	})
	return all
}

// KindUsage is what the store holds of one kind.
type KindUsage struct {
	Kind  disk.Kind
	Count int
	// Bytes is the space allocated on disk; Reclaimable is the part of it, in bytes, that prune could free now.
	Bytes, Reclaimable int64
	// LastUse is when an item of the kind was used last; zero: unknown.
	LastUse time.Time
}

// Measure says what a store holds, which it measures.
func Measure(ctx context.Context, d *depot.Depot) (u Usage, err error) {
	k, err := newKeepers(d)
	if err != nil {
		return u, err
	}
	items, err := k.items(ctx, removal.LookAll)
	if err != nil {
		return u, err
	}
	return Summarize(items), nil
}

// Summarize sorts items and counts them by kind.
func Summarize(items []disk.Item) Usage {
	u := Usage{Items: items, Projects: projects(items)}
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
	return u
}

func ofKind(items []disk.Item, kind disk.Kind) (some []disk.Item) {
	for _, i := range items {
		if i.Kind == kind {
			some = append(some, i)
		}
	}
	return some
}

// Prune removes what a policy chooses, and returns what is gone, with an error too. Whatever is in use stays. sure is
// asked with what would go, before anything does; nil: it goes.
func Prune(ctx context.Context, d *depot.Depot, policy disk.Policy,
	sure func(items []disk.Item) (bool, error)) (gone []disk.Item, err error) {
	k, err := newKeepers(d)
	if err != nil {
		return nil, err
	}
	if err := d.Removal.UseReserve(); err != nil {
		return nil, err
	}
	items, err := k.items(ctx, removal.LookAll)
	if err != nil {
		return nil, err
	}
	chosen := disk.Choose(items, policy)
	if sure != nil {
		if yes, err := sure(chosen); err != nil || !yes {
			return nil, err
		}
	}
	return k.remove(ctx, chosen, "cooper prune", true)
}
