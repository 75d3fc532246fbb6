package working

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cooperbuild/cooper/build/internal/store/containers"
	"github.com/cooperbuild/cooper/build/internal/workstate"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/session"
)

// Listed is a container of the store.
type Listed struct {
	ID, Name string
	// Working says that images are made from it; other tools have containers that are run.
	Working bool
	// ImageID and ImageName are those of the image that it was made from; empty: none.
	ImageID, ImageName string
	// MountedAt is where this process sees the container's files; empty: nowhere.
	MountedAt string
}

// List lists the containers of a store, oldest first. It makes no store.
func List(ctx context.Context, s *session.Session) ([]Listed, error) {
	d, err := s.Existing(ctx)
	if err != nil || d == nil {
		return nil, err
	}
	room := containers.New(d.Store)
	all, err := room.List()
	if err != nil {
		return nil, err
	}
	list := make([]Listed, 0, len(all))
	for _, c := range all {
		l := Listed{ID: c.ID, Name: c.Name(), ImageID: c.Image}
		if text, err := room.Read(c.ID, containers.StateFile); err == nil {
			if state, err := workstate.Parse(text); err == nil {
				l.Working, l.ImageID, l.ImageName = true, state.FromImageID, state.FromImage
			}
		}
		if l.MountedAt, err = room.MountedAt(c); err != nil {
			continue // it was removed meanwhile
		}
		if l.ImageName == "" && l.ImageID != "" {
			if about, err := d.Images.About(l.ImageID); err == nil && len(about.Names) > 0 {
				l.ImageName = about.Names[0]
			}
		}
		list = append(list, l)
	}
	return list, nil
}

// Mount mounts a container in this process's mount namespace, and gives the directory.
func Mount(ctx context.Context, s *session.Session, name string, to progress.Sink) (dir string, err error) {
	c, err := Open(ctx, s, name, to)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if dir, err = c.room.Mount(c.record); err != nil {
		return "", err
	}
	c.State.MountPoint = dir
	return dir, c.Save()
}

// Unmount takes back a Mount, and gives the container's ID.
func Unmount(ctx context.Context, s *session.Session, name string, to progress.Sink) (id string, err error) {
	c, err := Open(ctx, s, name, to)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	at, err := c.room.MountedAt(c.record)
	if err != nil {
		return "", err
	}
	if at == "" {
		return "", fmt.Errorf("container %s is not mounted here", c.Name())
	}
	if err := c.room.Unmount(c.record, false); err != nil {
		return "", err
	}
	if at, err = c.room.MountedAt(c.record); err != nil || at != "" {
		return c.ID(), err
	}
	c.State.MountPoint = ""
	return c.ID(), c.Save()
}

// Rename gives a container another name.
func Rename(ctx context.Context, s *session.Session, name, other string, to progress.Sink) (err error) {
	c, err := Open(ctx, s, name, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if slices.Contains(c.record.Names, other) {
		return fmt.Errorf("container %s has this name already", c.Name())
	}
	if err := c.room.Rename(c.record, other); err != nil {
		return err
	}
	c.State.Container = other
	return c.Save()
}

// Remove removes a container, and gives its ID.
func Remove(ctx context.Context, s *session.Session, name string, to progress.Sink) (id string, err error) {
	c, err := Open(ctx, s, name, to)
	if err != nil {
		return "", err
	}
	return c.ID(), errors.Join(c.Remove(), c.Close())
}

// Remove removes the container.
func (c *Container) Remove() error {
	at, err := c.room.MountedAt(c.record)
	if err == nil && at != "" {
		err = c.room.Unmount(c.record, true)
	}
	if err != nil {
		return err
	}
	return errors.Join(c.room.Delete(c.record), c.room.DropLock(c.ID()))
}
