package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
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

// Rechain gives the image layers of the IDs that LayerID gives them, so that what is built on them can be pulled again.
// The files are hard links where the store stages. The image's own record is moved to these layers, unless a container
// uses it.
func (s *Store) Rechain(ctx context.Context, img FoundImage) (FoundImage, error) {
	if Chained(img.Layers) {
		return img, nil
	}
	var layers []Layer
	parent := ""
	for _, old := range img.Layers {
		l, ok := s.UseLayer(ctx, LayerID(parent, old.DiffID), parent)
		if !ok {
			var err error
			if l, err = s.putOn(ctx, parent, old); err != nil {
				return FoundImage{}, fmt.Errorf("put layer %s under the ID that other tools give it: %w", old.ID, err)
			}
		}
		l.DiffID = old.DiffID
		layers, parent = append(layers, l), l.ID
	}
	img.Layers = layers
	return img, s.moveImage(ctx, img.ID, parent)
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

// moveImage puts the record of an image on another top layer, which has the same content as the one it is on.
func (s *Store) moveImage(ctx context.Context, id, top string) error {
	if img, err := s.store.Image(id); err != nil || img.TopLayer == top {
		return err
	}
	if err := s.makeDurable(ctx, top); err != nil {
		return err
	}
	err := s.uses.WhileDeciding(ctx, func() error {
		img, err := s.store.Image(id)
		if err != nil || img.TopLayer == top {
			return err
		}
		movable, err := s.movable(img)
		if err != nil || !movable {
			return err
		}
		return s.replaceImage(img, top)
	})
	if err != nil {
		return fmt.Errorf("put image %s on the layers that other tools give it: %w", id, err)
	}
	return nil
}

// replaceImage makes an image anew on another top layer. Meanwhile one of another ID has its names, so that a process
// that is killed leaves none without an image.
func (s *Store) replaceImage(old *storage.Image, top string) error {
	between, err := randomID()
	if err != nil {
		return err
	}
	o, err := s.imageOptions(old)
	if err != nil {
		return err
	}
	give := func(id string) error {
		if len(old.Names) == 0 {
			return nil
		}
		return s.store.AddNames(id, old.Names)
	}
	put := func(id string) error {
		_, err := s.store.CreateImage(id, nil, top, old.Metadata, o)
		if err == nil {
			err = give(id)
		}
		return err
	}
	if err := put(between); err != nil {
		return err
	}
	if _, err := s.store.DeleteImage(old.ID, true); err != nil {
		err = errors.Join(err, give(old.ID))
		_, undo := s.store.DeleteImage(between, true)
		return errors.Join(err, undo)
	}
	if err := put(old.ID); err != nil {
		return err
	}
	_, err = s.store.DeleteImage(between, true)
	return err
}

// movable tells whether an image can be moved: one that was pulled by a table of contents has an ID that belongs to its
// layers, and one that a container uses can't be deleted.
func (s *Store) movable(img *storage.Image) (bool, error) {
	config, err := s.imageConfig(img)
	if err != nil || digest.FromBytes(config).Encoded() != img.ID {
		return false, nil //nolint:nilerr // what can't be read stays as it is
	}
	containers, err := s.store.Containers()
	if err != nil {
		return false, fmt.Errorf("list containers: %w", err)
	}
	used := slices.ContainsFunc(containers, func(c storage.Container) bool { return c.ImageID == img.ID })
	return !img.ReadOnly && !used, nil
}

// imageOptions are those that make an image like this one.
func (s *Store) imageOptions(img *storage.Image) (*storage.ImageOptions, error) {
	o := &storage.ImageOptions{
		CreationDate: img.Created, Digest: img.Digest, Digests: img.Digests, NamesHistory: img.NamesHistory, Flags: img.Flags,
	}
	for _, key := range img.BigDataNames {
		data, err := s.store.ImageBigData(img.ID, key)
		if err != nil {
			return nil, err
		}
		o.BigData = append(o.BigData, storage.ImageBigDataOption{Key: key, Data: data, Digest: img.BigDataDigests[key]})
	}
	return o, nil
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
