package cachemounts

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/blobs"
	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/session"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// Request says which cache mounts are brought where.
type Request struct {
	// Place is where they go or come from.
	Place sharedcache.Spec
	// Key signs what is saved, and only what it has signed is loaded; nil: nothing is signed.
	Key *sharedcache.Key
	// IDs are those of the mounts; none: all.
	IDs []string
	// Replace has those come, too, that the store has, in place of these.
	Replace bool
	// Progress receives the events; nil: they are dropped.
	Progress progress.Sink
}

// Save brings cache mounts of the session's store to a place, beside what it has.
func Save(ctx context.Context, s *session.Session, req Request) (err error) {
	return within(ctx, s, req, func(d *depot.Depot, o shared.Options) error {
		items, err := list(ctx, d)
		if err != nil {
			return err
		}
		if items, err = chosen(items, req.IDs); err != nil {
			return err
		}
		req.Place.AllMounts = true
		o.To = []sharedcache.Spec{req.Place}
		records, err := cache.Open(d.Store.Paths().Cache())
		if err != nil {
			return err
		}
		kept := blobs.New(blobs.Options{Cache: records, Dir: d.Store.Paths().Remote(), Offline: true})
		defer kept.Close()
		room := shared.New(ctx, o)
		defer room.Close()
		mounts, err := mountsOf(d, items)
		if err != nil {
			return err
		}
		return room.Save(ctx, shared.SaveOptions{Records: records, Keep: kept.For, Origins: d.Images, Mounts: mounts,
			Retries: s.Registry().Retries, OpenMount: d.Store.Parts().Uses.OpenMount})
	})
}

// within opens the store and says what a room of shared caches needs of it.
func within(ctx context.Context, s *session.Session, req Request,
	do func(*depot.Depot, shared.Options) error) (err error) {
	defer func() { err = s.Explain(err) }()
	if req.Progress == nil {
		req.Progress = progress.Discard{}
	}
	d, err := s.Depot(ctx)
	if err != nil {
		return err
	}
	caller, err := s.Caller()
	if err != nil {
		return err
	}
	end, err := d.Removal.BeginBuild(ctx) // until end is called, no mount is removed
	if err != nil {
		return err
	}
	return errors.Join(do(d, shared.Options{
		Key: req.Key, Registry: s.Registry().Options(), Progress: req.Progress, Shown: progress.NewAsides(req.Progress),
		Nested: caller.Own() != nil, Spool: func() (*os.File, error) { return outfile.Unnamed(d.Store.Paths().Own) },
	}), end())
}

// mountsOf are the mounts that items of a store are. Of several directories that private steps have the first counts.
func mountsOf(d *depot.Depot, items []disk.Item) (all []shared.Mount, err error) {
	seen := map[string]bool{}
	for _, i := range items {
		local, number, _ := strings.Cut(i.ID, "/")
		made, filled, err := uses.ReadMade(filepath.Join(d.Store.Paths().Own, string(uses.Mounts), local, number))
		if err != nil {
			return nil, err
		}
		key := made.Key
		if key == "" { // from before mounts could travel
			key = local
		}
		if filled && !seen[key] {
			seen[key] = true
			all = append(all, shared.Mount{Key: cache.Key(key), Local: cache.Key(local), Number: number, ID: i.Label})
		}
	}
	return all, nil
}

// Load brings cache mounts of a place to the session's store. It returns the IDs of those that came, and of those that
// the store has already.
func Load(ctx context.Context, s *session.Session, req Request) (came, had []string, err error) {
	err = within(ctx, s, req, func(d *depot.Depot, o shared.Options) error {
		o.From = []sharedcache.Spec{req.Place}
		room := shared.New(ctx, o)
		defer room.Close()
		came, had, err = room.Mounts().Load(ctx, shared.LoadOptions{IDs: req.IDs, Replace: req.Replace,
			OpenMount: d.Store.Parts().Uses.OpenMount})
		return err
	})
	return came, had, err
}
