package working

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/bases"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
	"github.com/cooperbuild/cooper/build/internal/runstep"
	"github.com/cooperbuild/cooper/build/internal/store/containers"
	"github.com/cooperbuild/cooper/build/internal/store/depot"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/snapshot"
	"github.com/cooperbuild/cooper/build/internal/workstate"
	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/session"
)

// scratch is the name of no image.
const scratch = "scratch"

// usualName is the name of containers, behind that of their image.
const usualName = "working-container"

// Find says how an image is found.
type Find struct {
	// Platform is the one that the image must be for; nil: this machine's, or that of the image in the store.
	Platform *ocispec.Platform
	// Pull says when the image is fetched; empty is bases.PullMissing.
	Pull     bases.PullPolicy
	Progress progress.Sink
}

// image finds an image.
func (f Find) image(ctx context.Context, s *session.Session, d *depot.Depot, name string) (images.Found, error) {
	caller, err := s.Caller()
	if err != nil {
		return images.Found{}, err
	}
	want := plan.Wanted{Platform: runstep.MachinePlatform()}
	if f.Platform != nil {
		want = plan.Wanted{Platform: *f.Platform, Asked: true}
	}
	resolver := bases.New(bases.Options{
		Images: d.Images, Layers: snapshot.Rechainer{Store: d.Store}, Transfer: d.Pull, Registry: s.Registry(),
		Pull: cmp.Or(f.Pull, bases.PullMissing), User: caller.Caller, Process: caller.Own(), Progress: f.Progress,
		Asides: progress.NewAsides(f.Progress),
	})
	base, err := resolver.Resolve(ctx, name, want)
	if err != nil {
		return images.Found{}, err
	}
	return resolver.Image(base.ID), nil
}

// FromRequest says which container is made.
type FromRequest struct {
	// Image is a name or an ID, or "scratch" or empty for none.
	Image string
	// Name is that of the container; empty: one after the image's.
	Name string
	Find
	// Configure sets up the new container's state; nil: it stays as it is.
	Configure func(*State) error
}

// From makes a container, and gives its name and ID.
func From(ctx context.Context, s *session.Session, req FromRequest) (name, id string, err error) {
	defer func() { err = s.Explain(err) }()
	d, err := s.Depot(ctx)
	if err != nil {
		return "", "", err
	}
	end, err := d.Removal.BeginBuild(ctx)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, end()) }()
	base, err := req.base(ctx, s, d)
	if err != nil {
		return "", "", err
	}
	platform := runstep.MachinePlatform()
	if req.Platform != nil {
		platform = *req.Platform
	}
	state := workstate.New(base, platform, now())
	if req.Configure != nil {
		if err := req.Configure(state); err != nil {
			return "", "", err
		}
	}
	c := &Container{session: s, depot: d, room: containers.New(d.Store), to: req.Progress, State: state}
	if c.record, err = req.create(c.room, base); err != nil {
		return "", "", err
	}
	state.Container, state.ContainerID = c.Name(), c.ID()
	if err := errors.Join(c.Save(), c.inherit()); err != nil {
		return "", "", errors.Join(err, c.room.Delete(c.record))
	}
	return c.Name(), c.ID(), nil
}

// base is the image that the container is made from.
func (r FromRequest) base(ctx context.Context, s *session.Session, d *depot.Depot) (workstate.Base, error) {
	if r.Image == "" || r.Image == scratch {
		return workstate.Base{}, nil
	}
	found, err := r.image(ctx, s, d, r.Image)
	if err != nil {
		return workstate.Base{}, err
	}
	base := workstate.Base{Base: found.Base}
	if n := len(found.Layers); n > 0 {
		base.TopLayer = found.Layers[n-1].ID
	}
	about, err := d.Images.About(found.ID)
	if len(about.Names) > 0 && (base.Name == found.ID || base.Name == "") {
		base.Name = about.Names[0]
	}
	base.Manifest = about.Manifest
	return base, err
}

// create makes the container's record, under the next free name unless it was given one.
func (r FromRequest) create(room *containers.Room, on workstate.Base) (c containers.Container, err error) {
	if r.Name != "" {
		return room.Create(r.Name, on.ID)
	}
	name := usualName
	if on.ID != "" {
		name = containers.Base(on.Name) + "-" + usualName
	}
	for range maxNames {
		free, err := room.Unused(name)
		if err != nil {
			return c, err
		}
		if c, err = room.Create(free, on.ID); !errors.Is(err, containers.ErrNameTaken) {
			return c, err
		}
	}
	return c, fmt.Errorf("make container: %s: %w", name, containers.ErrNameTaken)
}

// maxNames is how often a name is looked for that others take before it is used.
const maxNames = 1000

// inherit gives the container's root directory the attributes that it would have in a build.
func (c *Container) inherit() (err error) {
	roots := rootfs.New(rootfs.Options{Store: c.depot.Store, Progress: c.to, Shown: progress.NewAsides(c.to)})
	defer func() { err = errors.Join(err, roots.Close()) }()
	_, adopted, err := roots.Adopt(nil, nil, c.record.Layer, false)
	if err != nil {
		return err
	}
	return errors.Join(adopted.Inherit(), adopted.Remove())
}

// MachinePlatform is the platform of this machine.
func MachinePlatform() ocispec.Platform { return runstep.MachinePlatform() }
