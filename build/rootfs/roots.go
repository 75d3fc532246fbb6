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

// Identity says which user builds, and in which user namespaces.
type Identity struct {
	// Owner is the user, by host ID.
	Owner userns.Owner
	// Process is the mapping of the user namespace that cooper itself is in; nil if that is the initial one.
	Process *userns.Mapping
	StepNS
}

// StepNS says which user namespace RUN steps get below cooper's own. The zero value is none.
type StepNS struct {
	// Steps is the mapping of that namespace, container IDs to the IDs of cooper's own namespace; nil: steps run in
	// cooper's own namespace.
	Steps *userns.Mapping
	// Joined is an existing namespace that RUN steps join; Steps is its mapping then. The caller closes it.
	Joined *joined.UserNS
	// Auto makes the build choose a range of IDs that nothing else uses; Steps is nil then.
	Auto *userns.AutoOptions
	// Ranges is the owner of the subordinate IDs that Steps is made of, unless Asked is set.
	Ranges userns.Owner
	// Asked tells that the user has asked for Steps or Auto; otherwise it is the default.
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
	// Space is the limit on disk space, which is checked when files were added to the store; nil: there is no limit.
	Space *reclaim.Space
	// Fail is called when the commit of a step has failed beside the steps that follow it. It gives the error for the
	// build.
	Fail func(s *plan.Step, err error) error
	// Sealed is called for each layer that a step has made, once it is in the store. It must not block. It may be nil.
	Sealed func(s *plan.Step, l cache.Layer)
}

// Roots makes the root file systems of one build and mounts them. It is safe for concurrent use. The caller calls Wait
// when all steps have ended, and then Close.
type Roots struct {
	Options
	// Snapshots makes the directories that steps write to.
	Snapshots *snapshot.Room
	// owners has the userns.IDs that own files in a layer, by the layer's ID; layerOwners fills it.
	owners sync.Map
	auto   autoIDs
	// commits are the commits under way; their first failure ends the build.
	commits *errgroup.Group

	mu       sync.Mutex
	cleanups []func() error
	// mapped is set by Namespace once it has found that RUN steps can have a user namespace of their own.
	mapped bool
	// shifted tells that steps in that namespace get copies of the layers with shifted owners (by chown), because the file
	// system can't do ID-mapped mounts. It doesn't change once mapped is set.
	shifted bool
	// unmapped tells that steps get no namespace of their own, although the default gives them one; see withoutIDMap.
	unmapped bool
	// ran counts the steps that were done, cached those whose layers came from the cache.
	ran, cached int
}

// New makes the Roots of a build, with no root yet.
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

// OnClose adds a function for Close to call; the one that was added last is called first.
func (b *Roots) OnClose(f func() error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// Close calls the functions of OnClose and releases the snapshots that the build didn't commit.
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
