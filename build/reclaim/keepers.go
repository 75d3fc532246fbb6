package reclaim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/fetch"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/internal/guard"
)

// keepers are those who keep files in a store: the store itself, the cache's records, and the remote sources.
type keepers struct {
	store   *store.Store
	removal *removal.Room
	cache   *cache.Cache
}

func newKeepers(d *depot.Depot) (keepers, error) {
	c, err := cache.Open(d.Store.Paths().Cache())
	return keepers{d.Store, d.Removal, c}, err
}

// total is the size in bytes of all items that are cooper's own. It doesn't list the cache's records.
func (k keepers) total(ctx context.Context, look removal.Look) (int64, error) {
	var items, sources []disk.Item
	var records int64
	var group errgroup.Group
	group.Go(guard.Func(func() (err error) {
		records, err = k.cache.DiskTotal()
		return err
	}))
	group.Go(guard.Func(func() (err error) {
		sources, err = fetch.DiskItems(ctx, k.store.Paths().Remote(), false)
		return err
	}))
	group.Go(guard.Func(func() (err error) {
		items, err = k.removal.Items(ctx, look)
		return err
	}))
	err := group.Wait()
	return records + disk.Total(items) + disk.Total(sources) + disk.Total(k.stats()), err
}

// items lists everything that the keepers keep. Items used since the oldest running build began count as in use.
func (k keepers) items(ctx context.Context, look removal.Look) ([]disk.Item, error) {
	oldest, err := k.store.Parts().Uses.OldestBuild(ctx)
	if err != nil {
		return nil, err
	}
	items, err := k.removal.Items(ctx, look)
	if err != nil {
		return nil, err
	}
	records, err := k.cache.DiskItems()
	if err != nil {
		return nil, err
	}
	sources, err := fetch.DiskItems(ctx, k.store.Paths().Remote(), look == removal.LookAll)
	if err != nil {
		return nil, err
	}
	items = k.place(items, records)
	items = append(append(items, sources...), k.stats()...)
	for n := range items {
		items[n].InUse = items[n].Kind != disk.Images && !items[n].LastUse.Before(oldest)
	}
	return items, nil
}

// place notes in each record which layer it stands on: one that can be removed, one that stays, or none any more.
// Layers get the descriptions that their records hold.
func (k keepers) place(items, records []disk.Item) []disk.Item {
	free := map[string]int{}
	for n, i := range items {
		if i.Kind == disk.Layers {
			free[i.ID] = n
		}
	}
	for _, r := range records {
		if r.On != "" {
			n, isFree := free[r.On]
			if isFree {
				r.Project = items[n].Project
			}
			switch {
			case isFree && items[n].About == "":
				items[n].About = r.About
			case isFree:
			case k.store.HasLayer(r.On):
				r.On, r.Shared = "", true
			default:
				r.On, r.Useless = "", true
			}
		}
		items = append(items, r)
	}
	return items
}

// statsID names the item of the file with the digests of context files.
const statsID = "stat"

// stats is the item of the file with the digests of context files.
func (k keepers) stats() []disk.Item {
	info, err := os.Lstat(k.store.Paths().Stats())
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	i := disk.Item{Kind: disk.Records, ID: statsID, About: "digests of context files", LastUse: info.ModTime(),
		Shared: true}
	const block = 4096
	i.Size.Bytes = (info.Size() + block - 1) / block * block
	return []disk.Item{i}
}

// NoteStats sets the last use of the file with the digests of context files to now.
func NoteStats(st *store.Store) {
	now := time.Now()
	_ = os.Chtimes(st.Paths().Stats(), now, now) // the file may not exist yet
}

// KeepStats writes the digests of context files to disk for later builds, of a build that was interrupted too, and
// notes their use.
func KeepStats(ctx context.Context, st *store.Store, stats *source.StatCache, to progress.Sink) {
	NoteStats(st)
	const patience = 5 * time.Second // for others that write them
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := stats.Save(ctx); err != nil {
		// Without the digests the next build only reads more files than it would have had to.
		to.Emit(progress.Note{Text: fmt.Sprintf("the file digests could not be kept: %v", err)})
	}
}

// remove removes items in the order that disk.Choose gives and returns the removed ones, also together with an error.
// It notes by what they were removed. If another process is removing, it waits for that with wait set, and returns
// uses.ErrBusy without.
func (k keepers) remove(ctx context.Context, items []disk.Item, by string, wait bool) (gone []disk.Item, err error) {
	unlock, err := k.store.Parts().Uses.LockRemoval(ctx, wait)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	// Items other than those in the store are removed without a lock that builds see: they stay if used from now on.
	now := time.Now()
	oldest, err := k.store.Parts().Uses.OldestBuild(ctx)
	if err != nil {
		return nil, err
	}
	if now.Before(oldest) {
		oldest = now
	}

	var stored, others []disk.Item
	for _, i := range items {
		if k.inStore(i) {
			stored = append(stored, i)
		} else {
			others = append(others, i)
		}
	}

	gone, err = k.removal.Remove(ctx, stored)
	left := map[string]bool{} // the IDs of layers that came into use, whose records stay with them
	for _, i := range stored {
		left[i.ID] = i.Kind == disk.Layers
	}

	for _, i := range gone {
		delete(left, i.ID)
	}
	others = slices.DeleteFunc(others, func(i disk.Item) bool { return left[i.On] })
	also, otherErr := k.removeOthers(ctx, others, oldest)
	gone = append(gone, also...)
	return gone, errors.Join(err, otherErr, k.cache.NoteEvictions(evicted(gone), by))
}

// evicted are the IDs of the removed layers and records of steps.
func evicted(gone []disk.Item) (ids []string) {
	for _, i := range gone {
		if i.Kind == disk.Layers || i.Kind == disk.Records && cache.IsRecord(i.ID) {
			ids = append(ids, i.ID)
		}
	}
	return ids
}

// inStore tells whether the store itself keeps an item.
func (k keepers) inStore(i disk.Item) bool {
	return i.Kind != disk.Sources && (i.Kind != disk.Records || removal.IsImageRecord(i.ID))
}

// removeOthers removes records and sources.
func (k keepers) removeOthers(ctx context.Context, items []disk.Item, unused time.Time) (gone []disk.Item, err error) {
	open := sync.OnceValues(func() (*fetch.Sources, error) { return fetch.Open(k.store.Paths().Remote()) })
	var errs []error
	sources := false
	for _, i := range items {
		if err := context.Cause(ctx); err != nil {
			return gone, errors.Join(append(errs, err)...)
		}
		done := false
		switch {
		case i.Kind == disk.Sources:
			var c *fetch.Sources
			if c, err = open(); err == nil {
				done, err = c.RemoveItem(i.ID, unused)
			}
			sources = true
		case i.ID == statsID:
			err = os.Remove(k.store.Paths().Stats())
			if done = err == nil; errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		default:
			err = k.cache.Remove(i.ID)
			done = err == nil
		}

		if errs = append(errs, err); done {
			gone = append(gone, i)
		}
	}

	if sources {
		if c, err := open(); err == nil {
			errs = append(errs, c.Tidy(unused))
		}
	}

	return gone, errors.Join(errs...)
}
