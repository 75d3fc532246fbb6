package working

import (
	"context"
	"fmt"

	"github.com/cooperbuild/cooper/build/internal/store/containers"
	"github.com/cooperbuild/cooper/build/internal/workstate"
	"github.com/cooperbuild/cooper/build/session"
)

// Info is all that is known of a container or an image, as buildah shows it.
type Info = workstate.Info

// Inspect tells of a container. It doesn't wait for whoever works on it.
func Inspect(ctx context.Context, s *session.Session, name string) (Info, error) {
	d, err := s.Existing(ctx)
	if err != nil {
		return Info{}, err
	}
	if d == nil {
		return Info{}, fmt.Errorf("%s: %w", name, ErrNone)
	}
	c := &Container{session: s, depot: d, room: containers.New(d.Store)}
	record, err := c.room.Find(name)
	if err != nil {
		return Info{}, err
	}
	if err := c.load(record.ID); err != nil {
		return Info{}, err
	}
	info := c.State.Info()
	if info.MountPoint, err = c.room.MountedAt(c.record); err != nil {
		return Info{}, err
	}
	return info, nil
}

// InspectImage tells of an image as of a container that would be made from it.
func InspectImage(ctx context.Context, s *session.Session, name string) (Info, error) {
	d, err := s.Depot(ctx)
	if err != nil {
		return Info{}, err
	}
	found, err := d.Images.Find(ctx, name)
	if err != nil {
		return Info{}, err
	}
	base := workstate.Base{Base: found.Base}
	about, err := d.Images.About(found.ID)
	if err != nil {
		return Info{}, err
	}
	if base.Manifest = about.Manifest; len(about.Names) > 0 && base.Name == found.ID {
		base.Name = about.Names[0]
	}
	state := workstate.New(base, found.Image.Platform, now())
	state.Annotations = base.Annotations
	state.Docker.Parent, state.Docker.ContainerConfig.Image = "", ""
	return state.Info(), nil
}
