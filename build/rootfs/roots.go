package rootfs

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/cache"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/reclaim"
	"github.com/cooperbuild/cooper/build/store"
	"github.com/cooperbuild/cooper/build/store/images"
	"github.com/cooperbuild/cooper/build/store/snapshot"
	"github.com/cooperbuild/cooper/executor/joined"
	"github.com/cooperbuild/cooper/userns"
)

// Identity is who builds, and in which user namespaces.
type Identity struct {
	// Owner is the user, by host ID.
	Owner userns.Owner
	// Process is the namespace cooper itself is in; nil if it is the initial one.
	Process *userns.Mapping
	StepNS
}

// StepNS says which user namespace RUN steps get below cooper's own. The zero value is none.
type StepNS struct {
	// Steps is its map; nil: the same as cooper's.
	Steps *userns.Mapping
	// Joined is a namespace that is there already and that RUN steps join; Steps is then its map. The caller closes it.
	Joined *joined.UserNS
	// Auto has the build choose a range that nothing else uses for Steps, which is nil then.
	Auto *userns.AutoOptions
	// Ranges is whose subordinate IDs Steps is made of, unless it was asked for.
	Ranges userns.Owner
	// Asked says that Steps or Auto is what the user has asked for, not only what is usual.
	Asked bool
}

// Options are what the root file systems of a build depend on.
type Options struct {
	Store    *store.Store
	Cache    *cache.Cache
	Identity Identity
	// SourceDate limits all times in layers; nil: none.
	SourceDate *time.Time
	// NoCache has every step done, whatever the cache has.
	NoCache  bool
	Progress progress.Sink
	Shown    progress.Asides
	// Space is told when something was kept; nil: nobody is.
	Space *reclaim.Space
	// Fail is told of a commit that failed beside the steps that follow it, and gives the error of the build.
	Fail func(s *plan.Step, err error) error
	// Sealed is told of each layer that a step has made when it is in the store, and must not wait; nil: nobody is.
	Sealed func(s *plan.Step, l cache.Layer)
}

// Roots makes the root file systems of one build, and shows them. It is safe for concurrent use. The caller calls Wait
// when all steps have ended, and Close.
type Roots struct {
	Options
	// Snapshots are where steps write to.
	Snapshots *snapshot.Room
	// owners are the userns.IDs of layers, by ID; see layerOwners.
	owners sync.Map
	auto   autoIDs
	// commits are the commits under way; their first failure ends the build.
	commits *errgroup.Group

	mu       sync.Mutex
	cleanups []func() error
	// mapped is set once it is known that RUN steps can have a user namespace of their own.
	mapped bool
	// shifted says whether they get their owners by chown, see NS; it is final once mapped is set.
	shifted bool
	// unmapped says that steps get no namespace of their own although that is usual.
	unmapped bool
	// ran and cached count the steps that were done and those that were not.
	ran, cached int
}

// New makes an empty set.
func New(o Options) *Roots {
	return &Roots{Options: o, Snapshots: snapshot.New(o.Store), commits: new(errgroup.Group)}
}

// Counts gives how many steps were done, and how many the cache had.
func (b *Roots) Counts() (ran, cached int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ran, b.cached
}

// Wait waits for all commits and gives the first error of one.
func (b *Roots) Wait() error { return b.commits.Wait() }

// OnClose has a function called at the end of the build, last one first.
func (b *Roots) OnClose(f func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// Close gives back what the build has made and not kept.
func (b *Roots) Close() error {
	var errs []error
	for i := len(b.cleanups) - 1; i >= 0; i-- {
		errs = append(errs, b.cleanups[i]())
	}
	return errors.Join(append(errs, b.Snapshots.Close())...)
}

// Scratch is the empty root.
func Scratch() *Root { return sealedRoot(nil, "", nil, time.Time{}) }

// Image is the root of an image of the store.
func (b *Roots) Image(img images.Found) *Root {
	var layers []cache.Layer
	for _, l := range img.Layers {
		layers = append(layers, cache.Layer{ID: l.ID, Parent: l.Parent, DiffID: l.DiffID, Size: l.Size})
		b.noteOwners(l)
	}
	var created time.Time
	if img.Image.Created != nil {
		created = *img.Image.Created
	}
	return sealedRoot(nil, cache.ImageContentID(img.Image.DiffIDs), layers, created)
}
