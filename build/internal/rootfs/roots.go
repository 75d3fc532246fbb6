package rootfs

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs/account"
	"github.com/cooperbuild/cooper/build/internal/rootfs/flights"
	"github.com/cooperbuild/cooper/build/internal/rootfs/reading"
	"github.com/cooperbuild/cooper/build/internal/rootfs/together"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// Options are what the root file systems of a build depend on.
type Options struct {
	Store    *store.Store
	Cache    *cache.Cache
	Identity Identity
	// Date replaces times in layers; nil: they stay as they are.
	Date *layer.Date
	// NoCache has every step done, whatever the cache has.
	NoCache bool
	// Together does equal steps of builds that run at once only once; nil: the build has nothing to do with others.
	Together *together.Group
	Progress progress.Sink
	Shown    progress.Asides
	// Space is the limit on disk space, which is checked when files were added to the store; nil: there is no limit.
	Space *reclaim.Space
	// Fail is called when the commit of a step has failed beside the steps that follow it. It gives the error for the
	// build.
	Fail func(s *plan.Step, err error) error
	// Shared has results of steps from other machines; nil: there are none.
	Shared Shared
	// TTL is how old a result may be that a step is spared for; 0: as old as it is.
	TTL time.Duration
	// Noted is called for each step whose result is in the cache or has just been put there, with the keys of its shape
	// and of the record. It may be nil.
	Noted func(s *plan.Step, shape, key cache.Key)
	// Teller is told what becomes of each step; nil: nobody is.
	Teller account.Teller
	// Sealed is called for each layer that a step has made, once it is in the store. It must not block. It may be nil.
	Sealed func(s *plan.Step, l cache.Layer)
}

// Roots makes the root file systems of one build and mounts them. It is safe for concurrent use. The caller calls Wait
// when all steps have ended, and then Close.
type Roots struct {
	Options
	// snapshots makes the directories that steps write to.
	snapshots  *snapshot.Room
	owners     *owners
	namespaces *namespaces
	views      views
	results    results
	links      links
	merges     merges
	commits    *commits
	cleanups   *cleanups
	// flights are the steps that builds in whatever processes run at the moment.
	flights *flights.Room
	// ran counts the steps that were done, cached those whose layers came from the cache.
	ran, cached atomic.Int64
}

// New makes the Roots of a build, with no root yet.
func New(o Options) *Roots {
	snapshots, own, ends := snapshot.New(o.Store), &owners{store: o.Store, identity: o.Identity}, &cleanups{}
	come := newArrivals(o, own)
	found := results{cache: o.Cache, store: o.Store, owners: own, date: o.Date, arrivals: come, ttl: o.TTL}
	return &Roots{
		Options: o, snapshots: snapshots, owners: own, results: found, cleanups: ends,
		flights: flights.New(o.Cache),
		views:   views{snapshots: snapshots, owners: own, space: o.Space},
		links:   links{results: found, chains: snapshots.Chains(), space: o.Space},
		merges:  merges{results: found, chains: snapshots.Chains(), space: o.Space},
		namespaces: &namespaces{identity: o.Identity, progress: o.Progress,
			ranges: &ranges{store: o.Store, identity: o.Identity, snapshots: snapshots, owners: own}},
		commits: &commits{
			reader:  reading.Reader{Date: o.Date, Sums: &layer.Sums{}, Progress: o.Progress, Shown: o.Shown},
			results: found, snapshots: snapshots, cleanups: ends, space: o.Space, fail: o.Fail, sealed: o.Sealed,
			noted: o.Noted, teller: o.Teller,
		},
	}
}

// Counts gives how many steps were done, and how many the cache had.
func (b *Roots) Counts() (ran, cached int) { return int(b.ran.Load()), int(b.cached.Load()) }

// Wait waits for all commits and gives the first error of one.
func (b *Roots) Wait() error { return b.commits.group.Wait() }

// OnClose adds a function for Close to call; the one that was added last is called first.
func (b *Roots) OnClose(f func() error) { b.cleanups.add(f) }

// Close calls the functions of OnClose and releases the snapshots that the build didn't commit.
func (b *Roots) Close() error {
	return errors.Join(b.cleanups.run(), b.namespaces.ranges.close(), b.snapshots.Close())
}

// Namespace is the user namespace that a RUN step gets.
func (b *Roots) Namespace(ctx context.Context, t *Staged, need Need) (NS, error) {
	return b.namespaces.of(ctx, t, need)
}

// Run mounts the root file system of a step with the owners that its namespace sees, and calls run with it.
func (b *Roots) Run(ctx context.Context, t *Staged, ns NS, run RunFunc) (executor.Status, error) {
	return b.views.run(ctx, t, ns, run)
}

// View opens a read-only view of a root, to look at or to copy from. The caller calls Release on it when done. The view
// of an empty root has no directory. With a namespace it shows the owners that a step in that namespace sees.
func (b *Roots) View(ctx context.Context, r *Root, ns NS) (snapshot.View, error) {
	if err := b.results.arrivals.bring(ctx, r); err != nil {
		return snapshot.View{}, err
	}
	return b.views.open(ctx, r, ns)
}

// OpenLayer opens the directory of a layer that an earlier build has made, to link its files from there, and keeps it
// from removal; nil: that can't be. The caller closes it.
func (b *Roots) OpenLayer(ctx context.Context, l cache.Layer) *os.File {
	if _, ok := b.Store.UseLayer(ctx, l.ID, l.Parent); !ok {
		return nil
	}
	return b.snapshots.OpenLayer(l.ID)
}

// Overlay mounts an overlay of directories that aren't layers: those that this program made for a step to see.
func (b *Roots) Overlay(o overlay.Options) (*os.File, error) {
	o.UserXattr = o.UserXattr || b.Identity.Process != nil
	return b.snapshots.Overlay(o)
}

// CheckStill gives an error if layers of a root were removed from the store meanwhile.
func (b *Roots) CheckStill(r *Root) error { return b.snapshots.CheckStill(r.Top()) }

// NewKey starts a cache key with the parts that all steps of this build have in common.
func (b *Roots) NewKey(kind string) *cache.KeyBuilder {
	return addDate(cache.NewKey(kind), b.Date)
}

// NewRecipe is NewKey for a key whose parts are kept.
func (b *Roots) NewRecipe(kind string) *cache.KeyBuilder {
	return addDate(cache.NewKey(kind).Recorded(), b.Date)
}

// addDate adds the date to a key, so that layers made with another date are others.
func addDate(k *cache.KeyBuilder, date *layer.Date) *cache.KeyBuilder {
	if date != nil {
		k.Add("source date", date.Key())
	}
	return k
}

// Scratch is the empty root.
func Scratch() *Root { return sealedRoot(nil, "", nil, time.Time{}) }

// Image is the root of an image of the store.
func (b *Roots) Image(img images.Found) *Root {
	var layers []cache.Layer
	for _, l := range img.Layers {
		layers = append(layers, cache.Layer{ID: l.ID, Parent: l.Parent, DiffID: l.DiffID, Size: l.Size})
		b.owners.note(l)
	}
	var created time.Time
	if img.Image.Created != nil {
		created = *img.Image.Created
	}
	return sealedRoot(nil, cache.ImageContentID(img.Image.DiffIDs), layers, created)
}

// cleanups are what is to be done at the end of a build. It is safe for concurrent use.
type cleanups struct {
	mu  sync.Mutex
	all []func() error
}

// add has a function called by run.
func (c *cleanups) add(f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, f)
}

// run calls all functions, the one that was added last first, and gives their errors.
func (c *cleanups) run() error {
	c.mu.Lock()
	all := c.all
	c.all = nil
	c.mu.Unlock()
	var errs []error
	for i := len(all) - 1; i >= 0; i-- {
		errs = append(errs, all[i]())
	}
	return errors.Join(errs...)
}
