package store

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// Chained tells whether layers, bottom first, have the IDs that LayerID gives them. Those that earlier versions made
// don't, and neither do those that podman has pulled by a table of contents.
func Chained(layers []Layer) bool {
	parent := ""
	for _, l := range layers {
		if l.ID != LayerID(parent, l.DiffID) {
			return false
		}
		parent = l.ID
	}
	return true
}

// Rechain gives layers of the same content, bottom first, that have the IDs that LayerID gives them, so that what is
// built on them can be pulled again. The files are hard links where the store stages.
func (s *Store) Rechain(ctx context.Context, chain []Layer) ([]Layer, error) {
	if Chained(chain) {
		return chain, nil
	}
	var layers []Layer
	parent := ""
	for _, old := range chain {
		l, ok := s.UseLayer(ctx, LayerID(parent, old.DiffID), parent)
		if !ok {
			var err error
			if l, err = s.putOn(ctx, parent, old); err != nil {
				return nil, fmt.Errorf("put layer %s under the ID that other tools give it: %w", old.ID, err)
			}
		}
		l.DiffID = old.DiffID
		layers, parent = append(layers, l), l.ID
	}
	return layers, nil
}

// putOn makes a layer on top of the parent that has the same content as old.
func (s *Store) putOn(ctx context.Context, parent string, old Layer) (Layer, error) {
	if s.staging {
		if l, ok, err := s.linkOn(ctx, parent, old); ok || err != nil {
			return l, err
		}
	}
	return s.Restack(ctx, old, parent)
}

// linkOn makes it of hard links; false if that doesn't give the same archive, which another program may have written.
func (s *Store) linkOn(ctx context.Context, parent string, old Layer) (l Layer, ok bool, err error) {
	from, err := s.DiffDir(old.ID)
	if err != nil {
		return l, false, err
	}
	below, err := plainRoot()
	if parent != "" && err == nil {
		var dir string
		if dir, err = s.DiffDir(parent); err == nil {
			below, err = layer.ReadRootAttr(dir)
		}
	}
	if err != nil {
		return l, false, err
	}
	attr, err := layer.ReadRootAttr(from)
	if err != nil {
		return l, false, err
	}
	snap, err := s.Prepare(ctx, "")
	if err != nil {
		return l, false, err
	}
	defer func() { err = errors.Join(err, snap.Remove()) }()
	if err := s.linkFrom(ctx, snap.Dir(), from); err != nil {
		if _, gone := s.Layer(old.ID); gone != nil {
			err = gone
		}
		return l, false, err
	}
	if err := layer.SetRootAttr(snap.Dir(), attr); err != nil {
		return l, false, err
	}
	res, err := snap.Read(ReadOptions{Context: ctx, ParentRoot: &below})
	if err != nil || res.Empty || res.DiffID != old.DiffID {
		return l, false, err
	}
	l, err = snap.Commit(ctx, parent)
	return l, err == nil, err
}

// linkFrom makes a directory of hard links to the files of a layer.
func (s *Store) linkFrom(ctx context.Context, dir, from string) (err error) {
	fd, err := unix.Open(from, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: from, Err: err}
	}
	f := s.Beneath(os.NewFile(uintptr(fd), from))
	defer func() { err = errors.Join(err, f.Close()) }()
	return layer.Merge(ctx, dir, []string{fmt.Sprintf("/proc/self/fd/%d", f.Fd())}, s.OverlayXattr())
}
