package cachemounts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/session"
)

// List gives the cache mounts of the session's store, those that were used last first. Their labels are the IDs that
// Dockerfiles give them. A store that isn't there has none, and none is made.
func List(ctx context.Context, s *session.Session) (all []disk.Item, err error) {
	d, err := s.Existing(ctx)
	if err != nil || d == nil {
		return nil, err
	}
	return list(ctx, d)
}

func list(ctx context.Context, d *depot.Depot) ([]disk.Item, error) {
	items, err := d.Removal.Items(ctx, removal.LookChanged)
	if err != nil {
		return nil, err
	}
	items = slices.DeleteFunc(items, func(i disk.Item) bool { return i.Kind != disk.Mounts })
	slices.SortFunc(items, func(a, b disk.Item) int {
		return cmp.Or(b.LastUse.Compare(a.LastUse), strings.Compare(a.ID, b.ID))
	})
	return items, nil
}

// chosen are the mounts with one of the IDs, or all of them if there are none. An ID that no mount has is an error.
func chosen(items []disk.Item, ids []string) (some []disk.Item, err error) {
	if len(ids) == 0 {
		return items, nil
	}
	for _, id := range ids {
		n := len(some)
		for _, i := range items {
			if i.Label == id {
				some = append(some, i)
			}
		}
		if len(some) == n {
			err = errors.Join(err, fmt.Errorf("there is no cache mount with id=%s", id))
		}
	}
	return some, err
}

// Remove removes the cache mounts with the IDs, and returns those that are gone. One that a running build may use
// stays, which is an error.
func Remove(ctx context.Context, s *session.Session, ids []string) (gone []disk.Item, err error) {
	d, err := s.Depot(ctx)
	if err != nil {
		return nil, err
	}
	items, err := list(ctx, d)
	if err != nil {
		return nil, err
	}
	some, err := chosen(items, ids)
	if err != nil {
		return nil, err
	}
	gone, err = d.Removal.Remove(ctx, some)
	for _, i := range some {
		if !slices.ContainsFunc(gone, func(g disk.Item) bool { return g.ID == i.ID }) {
			err = errors.Join(err, fmt.Errorf("the cache mount id=%s stays: a running build may use it", i.Label))
		}
	}
	return gone, err
}
