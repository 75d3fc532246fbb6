package working

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/copystep"
	"github.com/cooperbuild/cooper/build/internal/inputs"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/source"
	"github.com/cooperbuild/cooper/build/internal/stepinput"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// Options are what the work on a container depends on.
type Options struct {
	// Cached makes a step of each command and copy, which isn't done again while its inputs are the same.
	Cached bool
	// StepNS is the user namespace of commands; with the zero value they run in cooper's own.
	StepNS rootfs.StepNS
	// Run are the settings of the sandbox.
	Run runstep.Options
	// Date replaces times in layers; nil: they stay as they are.
	Date *layer.Date
	// Did is called for each step: whether it was cached, and what it is. It may be nil.
	Did func(cached bool, text string)
}

// engine does on one container what a build does in its steps. The caller calls close.
type engine struct {
	*Container
	options  Options
	cache    *cache.Cache
	stats    *source.StatCache
	contexts *inputs.Contexts
	roots    *rootfs.Roots
	end      func() error
	// base is the image, and below the root file system under the container's layer.
	base, below *rootfs.Root
	// shared says that the container is mounted where other programs see it.
	shared bool
}

func (c *Container) engine(ctx context.Context, o Options) (_ *engine, err error) {
	caller, err := c.session.Caller()
	if err != nil {
		return nil, err
	}
	mounted, err := c.room.MountedAt(c.record)
	if err != nil {
		return nil, err
	}
	e := &engine{Container: c, options: o, shared: mounted != ""}
	if e.cache, err = cache.Open(c.depot.Store.Paths().Cache()); err != nil {
		return nil, err
	}
	if e.end, err = c.depot.Removal.BeginBuild(ctx); err != nil {
		return nil, err
	}
	asides := progress.NewAsides(c.to)
	e.stats = source.OpenStatCache(c.depot.Store.Paths().Stats())
	e.contexts = inputs.New(inputs.Options{
		Progress: c.to, Shown: asides,
		Secret: func(string) ([]byte, bool) { return nil, false },
	}, c.depot.Store)
	e.roots = rootfs.New(rootfs.Options{
		Store: c.depot.Store, Cache: e.cache, Date: o.Date, Progress: c.to, Shown: asides,
		Identity: rootfs.Identity{User: caller.Caller, Process: caller.Own(), StepNS: o.StepNS},
		Fail:     func(_ *plan.Step, err error) error { return err },
	})
	if err := e.stack(ctx); err != nil {
		return nil, errors.Join(err, e.close(ctx))
	}
	return e, nil
}

// close ends the work.
func (e *engine) close(ctx context.Context) error {
	err := errors.Join(e.roots.Wait(), e.contexts.Close(), e.roots.Close())
	keep, cancel := context.WithTimeout(context.WithoutCancel(ctx), statsPatience)
	defer cancel()
	_ = e.stats.Save(keep) // without it the next copy only reads more files
	return errors.Join(err, e.end())
}

// statsPatience is how long the digests of files may take to be written.
const statsPatience = 5 * time.Second

func (e *engine) inputs() stepinput.Inputs {
	return stepinput.Inputs{Roots: e.roots, Contexts: e.contexts, Stats: e.stats}
}

func (e *engine) runs() *runstep.Room {
	return runstep.New(runstep.Setup{
		Inputs: e.inputs(), Run: e.options.Run, Tags: []string{e.Name()},
		StepName: func(*plan.Step) string { return "[" + e.Name() + "]" },
	})
}

func (e *engine) copies() *copystep.Room {
	return copystep.New(copystep.Options{Inputs: e.inputs()})
}

// stack finds what is under the container's layer: the base image, and what steps have put on it.
func (e *engine) stack(ctx context.Context) error {
	image, err := e.State.BaseImage()
	if err != nil {
		return err
	}
	top, err := e.depot.Store.Layer(e.record.Layer)
	if err != nil {
		return err
	}
	chain, err := e.depot.Store.UseChain(ctx, top.Parent)
	if err != nil {
		return err
	}
	n := len(image.DiffIDs)
	if n > len(chain) {
		return fmt.Errorf("container %s: it is on %d layers, but its image has %d", e.Name(), len(chain), n)
	}
	for i, id := range image.DiffIDs { // records that others have made may lack them
		chain[i].DiffID = id
	}
	e.base = rootfs.Scratch()
	if n > 0 {
		e.base = e.roots.Image(images.Found{Base: imagebuilder.Base{Image: image}, Layers: chain[:n]})
	}
	var more []cache.Layer
	for _, l := range chain[n:] {
		more = append(more, cache.Layer{ID: l.ID, Parent: l.Parent, DiffID: l.DiffID, Size: l.Size})
	}
	on, err := e.depot.Images.About(e.record.Image)
	e.below = e.base.Above(more, on.Created)
	return err
}

// adopt opens the container's layer to be written to.
func (e *engine) adopt(s *plan.Step) (*rootfs.Staged, *snapshot.Adopted, error) {
	return e.roots.Adopt(s, e.below, e.record.Layer, e.shared)
}

// seal makes a layer of what is in the container's, and gives the root with it. The container stays as it is.
func (e *engine) seal(ctx context.Context) (*rootfs.Root, error) {
	s := &plan.Step{Text: "container " + e.Name()}
	staged, adopted, err := e.adopt(s)
	if err != nil {
		return nil, err
	}
	if adopted.Empty() {
		return e.below, adopted.Remove()
	}
	return e.roots.Seal(ctx, staged)
}

// rebase puts the container, whose own layer is sealed in the root or empty, on that root.
func (e *engine) rebase(ctx context.Context, to *rootfs.Root) error {
	if to.Top() == e.below.Top() {
		return nil
	}
	id := e.State.FromImageID
	if to.Top() != e.base.Top() || id == "" {
		var err error
		if id, err = e.anchor(ctx, to); err != nil {
			return err
		}
	}
	// The container is gone for a moment: whatever ends this process may not do so then.
	record, err := e.room.Rebase(e.record, id)
	if err != nil {
		return err
	}
	e.record, e.below = record, to
	e.State.Layers(len(to.Layers())-len(e.base.Layers()), to.Created())
	return e.Save()
}

// anchor records an image of the cache's own for a root, so that a container can be on it.
func (e *engine) anchor(ctx context.Context, root *rootfs.Root) (string, error) {
	r := images.Record{Created: root.Created(), Keep: true}
	image := imagebuilder.Image{Platform: e.State.Image.Platform}
	for _, l := range root.Layers() {
		image.DiffIDs = append(image.DiffIDs, l.DiffID)
		layer, err := e.depot.Store.Layer(l.ID)
		if err != nil {
			return "", err
		}
		r.Layers = append(r.Layers, layer)
	}
	for i := range r.Layers {
		r.Layers[i].DiffID = image.DiffIDs[i]
	}
	var err error
	if r.Config, err = image.MarshalConfig(slices.Clone(image.DiffIDs), root.Created(), nil); err != nil {
		return "", err
	}
	id, _, err := e.depot.Images.Put(ctx, r)
	return id, err
}
