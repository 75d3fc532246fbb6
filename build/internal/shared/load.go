package shared

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/shared/index"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// LoadOptions say which cache mounts come to a store.
type LoadOptions struct {
	// IDs are those of the mounts; none: all.
	IDs []string
	// Replace has those come, too, that the store has, in place of these.
	Replace bool
	// OpenMount opens a cache mount of the store; see uses.Ledger.
	OpenMount func(ctx context.Context, key, number, label string) (dir string, lock *os.File, err error)
}

// Load brings cache mounts of the first place to a store, for steps whose files have the image's owners on disk. It
// returns the IDs of those that came, and of those that the store has already.
func (m *Mounts) Load(ctx context.Context, o LoadOptions) (came, had []string, err error) {
	mounts := map[cache.Key]index.Mount{}
	m.room.each(ctx, func(_ *source, x *index.Index) bool {
		mounts = x.Mounts
		return true
	})
	missing := slices.Clone(o.IDs)
	keys := slices.SortedFunc(maps.Keys(mounts), func(a, b cache.Key) int {
		return cmp.Or(cmp.Compare(mounts[a].ID, mounts[b].ID), cmp.Compare(a, b))
	})
	for _, key := range keys {
		id := mounts[key].ID
		if len(o.IDs) > 0 && !slices.Contains(o.IDs, id) {
			continue
		}
		missing = slices.DeleteFunc(missing, func(wanted string) bool { return wanted == id })
		done, err := m.loadOne(ctx, key, id, o)
		if err != nil {
			return came, had, fmt.Errorf("load the cache mount id=%s: %w", id, err)
		}
		if done {
			came = append(came, id)
		} else {
			had = append(had, id)
		}
	}
	for _, id := range missing {
		err = errors.Join(err, fmt.Errorf("%s has no cache mount with id=%s", m.room.From[0].Where(), id))
	}
	return came, had, err
}

// loadOne brings one mount to a store; false: the store has it already.
func (m *Mounts) loadOne(ctx context.Context, key cache.Key, id string, o LoadOptions) (done bool, err error) {
	dir, lock, err := o.OpenMount(ctx, string(key), "0", id)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	free, err := flock.Try(lock, flock.Exclusive)
	if err == nil && !free {
		err = errors.New("a running step uses it")
	}
	if err != nil {
		return false, err
	}
	if _, filled, err := uses.ReadMade(dir); err != nil || filled && !o.Replace {
		return false, err
	}
	// Without its mark the next step fills it anew, should this end midway.
	if err := errors.Join(fsys.RemoveFiles(dir+uses.MadeSuffix), fsys.RemoveContents(dir)); err != nil {
		return false, err
	}
	if !m.Fill(ctx, key, id, dir) {
		return false, errors.Join(errors.New("it could not be fetched"), context.Cause(ctx), fsys.RemoveContents(dir))
	}
	return true, uses.WriteMade(dir, uses.Made{Key: string(key)})
}
