package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/userns"
)

// CopyOptions say which image is copied into the store, and as what.
type CopyOptions struct {
	// Platform chooses among the images of an index.
	Platform ocispec.Platform
	// Name is the full reference that the image gets; if another image has it, it is taken from that. Empty: no name.
	Name string
	// Lasting says that the image isn't the cache's, even if it has no name.
	Lasting bool
	// Mapping, Progress and Keep are as in Options.
	Mapping  *userns.Mapping
	Progress func(what string, done, total int64)
	Keep     func(ctx context.Context, d ocispec.Descriptor, f *os.File)
}

// vanished is how often a copy is begun anew because another process removed layers that it had counted on.
const vanished = 10

// Copy puts an image from a registry, a layout or any other source into the store: the one that root, a manifest
// or an index, describes. What is in the store then is what podman pull would have put there. Layers that are there
// already are not fetched. If it fails, the store is as it was.
func (r *Room) Copy(ctx context.Context, src content.Fetcher, root ocispec.Descriptor,
	o CopyOptions) (images.Found, error) {
	img, err := content.ReadImage(ctx, src, root, o.Platform)
	if err != nil {
		return images.Found{}, err
	}
	c := &layerCopy{room: r, src: src, img: img, opts: o, blobs: map[string]library.Blob{}}
	var found images.Found
	err = c.persist(ctx, func() (err error) {
		found, err = r.copyOnce(ctx, c)
		return err
	})
	return found, err
}

// Layers puts the layers of a chain that the store lacks into it, as Copy does, and records no image for them. diffIDs
// are those of the whole chain, bottom first; blobs describe where the source has them compressed. If it fails, the
// layers that it has made are removed, but for those that others have put something on.
func (r *Room) Layers(ctx context.Context, src content.Fetcher, diffIDs []digest.Digest, blobs []ocispec.Descriptor,
	o CopyOptions) error {
	c := &layerCopy{room: r, src: src, img: &content.Image{DiffIDs: diffIDs, Layers: blobs}, opts: o,
		blobs: map[string]library.Blob{}}
	return c.persist(ctx, func() error {
		_, err := c.run(ctx)
		return err
	})
}

// persist copies until other processes remove no layer meanwhile; after another error it undoes what was made.
func (c *layerCopy) persist(ctx context.Context, copyOnce func() error) error {
	for try := 1; ; try++ {
		err := copyOnce()
		if err == nil {
			return nil
		}
		if !store.Unknown(err) || try == vanished || ctx.Err() != nil {
			return errors.Join(err, c.undo())
		}
		// The layers that this try has made stay for the next one: if each failed try removed its layers, two copies could
		// make each other fail without end.
	}
}

// copyOnce tries to copy once. After an error the caller undoes what it has made.
func (r *Room) copyOnce(ctx context.Context, c *layerCopy) (images.Found, error) {
	img, o := c.img, c.opts
	top, there, err := r.topOf(ctx, img)
	if err == nil && !there {
		top, err = c.run(ctx)
	}
	if err == nil {
		err = r.store.Parts().Durable.Make(ctx, top)
	}
	if err == nil {
		err = r.images.PutCopy(img, top, o.Name, !o.Lasting)
	}
	if err != nil {
		return images.Found{}, err
	}
	found, err := r.library.Image(img.ConfigDigest.Encoded())
	if err != nil {
		return images.Found{}, fmt.Errorf("look up the image just copied: %w", err)
	}
	name := o.Name
	if name == "" {
		name = found.ID
	}
	return r.images.Read(ctx, found, name)
}

// topOf finds the top layer of an image that is in the store whole, perhaps because it was built here.
func (r *Room) topOf(ctx context.Context, img *content.Image) (top string, ok bool, err error) {
	old, err := r.library.Image(img.ConfigDigest.Encoded())
	if errors.Is(err, storage.ErrImageUnknown) || err == nil && old.ID != img.ConfigDigest.Encoded() {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look up image: %w", err)
	}
	chain, err := r.store.UseChain(ctx, old.TopLayer)
	if err != nil {
		return "", false, nil //nolint:nilerr // its layers are being removed, or were lost
	}
	same := slices.EqualFunc(chain, img.DiffIDs, func(l store.Layer, id digest.Digest) bool { return l.DiffID == id })
	return old.TopLayer, same, nil
}
