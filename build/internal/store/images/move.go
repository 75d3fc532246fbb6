package images

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
)

// Move puts the record of an image on another top layer, which has the same content as the one it is on.
func (r *Room) Move(ctx context.Context, id, top string) error {
	if img, err := r.library.Image(id); err != nil || img.TopLayer == top {
		return err
	}
	if err := r.store.Parts().Durable.Make(ctx, top); err != nil {
		return err
	}
	err := r.uses.WhileDeciding(ctx, func() error {
		img, err := r.library.Image(id)
		if err != nil || img.TopLayer == top {
			return err
		}
		movable, err := r.movable(img)
		if err != nil || !movable {
			return err
		}
		return r.replace(img, top)
	})
	if err != nil {
		return fmt.Errorf("put image %s on the layers that other tools give it: %w", id, err)
	}
	return nil
}

// replace makes an image anew on another top layer. Meanwhile an image of another ID has its names, so that each name
// has an image even if the process is killed.
func (r *Room) replace(old *storage.Image, top string) error {
	between := digest.FromString(rand.Text()).Encoded()
	o, err := r.options(old)
	if err != nil {
		return err
	}

	give := func(id string) error {
		if len(old.Names) == 0 {
			return nil
		}
		return r.library.AddNames(id, old.Names)
	}

	put := func(id string) error {
		_, err := r.library.CreateImage(id, nil, top, old.Metadata, o)
		if err == nil {
			err = give(id)
		}
		return err
	}
	if err := put(between); err != nil {
		return err
	}

	if _, err := r.library.DeleteImage(old.ID, true); err != nil {
		err = errors.Join(err, give(old.ID))
		_, undo := r.library.DeleteImage(between, true)
		return errors.Join(err, undo)
	}
	if err := put(old.ID); err != nil {
		return err
	}

	_, err = r.library.DeleteImage(between, true)
	return err
}

// movable tells whether an image can be moved: one that was pulled by a table of contents has an ID that belongs to its
// layers, and one that a container uses can't be deleted.
func (r *Room) movable(img *storage.Image) (bool, error) {
	config, _, err := r.config(img)
	if err != nil || digest.FromBytes(config).Encoded() != img.ID {
		return false, nil //nolint:nilerr // what can't be read stays as it is
	}
	containers, err := r.library.Containers()
	if err != nil {
		return false, fmt.Errorf("list containers: %w", err)
	}
	used := slices.ContainsFunc(containers, func(c storage.Container) bool { return c.ImageID == img.ID })
	return !img.ReadOnly && !used, nil
}

// options gives the options with which the library makes an image like this one.
func (r *Room) options(img *storage.Image) (*storage.ImageOptions, error) {
	o := &storage.ImageOptions{
		CreationDate: img.Created, Digest: manifestDigest(img), Digests: img.Digests, NamesHistory: img.NamesHistory,
		Flags: img.Flags,
	}
	for _, key := range img.BigDataNames {
		data, err := r.library.ImageBigData(img.ID, key)
		if err != nil {
			return nil, err
		}
		o.BigData = append(o.BigData, storage.ImageBigDataOption{Key: key, Data: data, Digest: img.BigDataDigests[key]})
	}
	return o, nil
}
