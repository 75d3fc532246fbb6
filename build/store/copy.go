package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/userns"
)

// CopyOptions say which image is copied into the store, and as what.
type CopyOptions struct {
	// Platform chooses among the images of an index.
	Platform ocispec.Platform
	// Name is the full reference that the image gets; if another image has it, it is taken from that. Empty: no name.
	Name string
	// Mapping and Progress are those of PullOptions.
	Mapping  *userns.Mapping
	Progress func(what string, done, total int64)
}

// vanished is how often a copy is begun anew because another process removed layers that it had counted on.
const vanished = 10

// CopyImage puts an image from a registry, a layout or any other source into the store: the one that root, a manifest
// or an index, describes. What is in the store then is what podman pull would have put there. Layers that are there
// already are not fetched. If it fails, the store is as it was.
func (s *Store) CopyImage(ctx context.Context, src registry.Fetcher, root ocispec.Descriptor,
	o CopyOptions) (FoundImage, error) {
	img, err := registry.ReadImage(ctx, src, root, o.Platform)
	if err != nil {
		return FoundImage{}, err
	}
	c := &layerCopy{store: s, src: src, img: img, opts: o}
	for try := 1; ; try++ {
		found, err := s.copyOnce(ctx, c)
		if err == nil {
			return found, nil
		}
		gone := errors.Is(err, storage.ErrLayerUnknown) || errors.Is(err, storage.ErrParentUnknown)
		if !gone || try == vanished || ctx.Err() != nil {
			return FoundImage{}, errors.Join(err, c.undo())
		}
		// What this copy has made stays for the next try: were it taken away, other copies could miss it in turn, without
		// end.
	}
}

// copyOnce leaves it to the caller to undo the copy.
func (s *Store) copyOnce(ctx context.Context, c *layerCopy) (FoundImage, error) {
	img, o := c.img, c.opts
	top, there, err := s.topOf(ctx, img)
	if err == nil && !there {
		top, err = c.run(ctx)
	}
	if err == nil {
		err = s.makeDurable(ctx, top)
	}
	if err == nil {
		err = s.recordImage(img, top, o.Name)
	}
	if err != nil {
		return FoundImage{}, err
	}
	found, err := s.store.Image(img.ConfigDigest.Encoded())
	if err != nil {
		return FoundImage{}, fmt.Errorf("look up the image just copied: %w", err)
	}
	name := o.Name
	if name == "" {
		name = found.ID
	}
	return s.readImage(ctx, found, name)
}

// topOf finds the top layer of an image that is in the store whole, perhaps because it was built here.
func (s *Store) topOf(ctx context.Context, img *registry.Image) (top string, ok bool, err error) {
	old, err := s.store.Image(img.ConfigDigest.Encoded())
	if errors.Is(err, storage.ErrImageUnknown) || err == nil && old.ID != img.ConfigDigest.Encoded() {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look up image: %w", err)
	}
	chain, err := s.useChain(ctx, old.TopLayer)
	if err != nil {
		return "", false, nil //nolint:nilerr // its layers are being removed, or were lost
	}
	same := slices.EqualFunc(chain, img.DiffIDs, func(l Layer, id digest.Digest) bool { return l.DiffID == id })
	return old.TopLayer, same, nil
}

// recordImage writes the image's record as containers/image does, item for item.
func (s *Store) recordImage(img *registry.Image, top, name string) error {
	id := img.ConfigDigest.Encoded()
	manifest := digest.FromBytes(img.Manifest)
	items := []storage.ImageBigDataOption{{Key: img.ConfigDigest.String(), Data: img.Config, Digest: img.ConfigDigest}}
	if img.Index != nil {
		d := digest.FromBytes(img.Index)
		items = append(items, storage.ImageBigDataOption{Key: manifestKey(d), Data: img.Index, Digest: d})
	}
	items = append(items,
		storage.ImageBigDataOption{Key: manifestKey(manifest), Data: img.Manifest, Digest: manifest},
		storage.ImageBigDataOption{Key: storage.ImageDigestBigDataKey, Data: img.Manifest, Digest: manifest},
	)
	// No signature is kept, and the record says so.
	items = append(items, storage.ImageBigDataOption{Key: "signature-" + manifest.Encoded(), Data: []byte{},
		Digest: digest.FromBytes(nil)})
	metadata := fmt.Sprintf(`{"signatures-sizes":{%q:[]}}`, manifest.String())
	options := &storage.ImageOptions{CreationDate: img.Created, BigData: items}
	if name == "" {
		options.Flags = map[string]any{ownFlag: true}
	}
	_, err := s.store.CreateImage(id, nil, top, metadata, options)
	if errors.Is(err, storage.ErrDuplicateID) {
		err = s.updateImage(id, top, items)
	}
	if err != nil {
		return fmt.Errorf("record image: %w", err)
	}
	if name != "" {
		if err := s.nameImage(id, []string{name}); err != nil {
			return fmt.Errorf("name image: %w", err)
		}
	}
	return nil
}

func manifestKey(d digest.Digest) string {
	return storage.ImageDigestManifestBigDataNamePrefix + "-" + d.String()
}

// updateImage adds to an image that is there already what it was pulled by this time.
func (s *Store) updateImage(id, top string, items []storage.ImageBigDataOption) error {
	old, err := s.store.Image(id)
	if err != nil {
		return err
	}
	if old.TopLayer != top {
		return fmt.Errorf("image %s is in the store with the top layer %s, not %s", id, old.TopLayer, top)
	}
	return s.addItems(id, items, true)
}

// addItems gives an image items that it lacks, and with renew those that it has otherwise.
func (s *Store) addItems(id string, items []storage.ImageBigDataOption, renew bool) error {
	old, err := s.store.Image(id)
	if err != nil {
		return err
	}
	for _, item := range items {
		if have, ok := old.BigDataDigests[item.Key]; have == item.Digest || ok && !renew {
			continue
		}
		if err := s.store.SetImageBigData(id, item.Key, item.Data,
			func(b []byte) (digest.Digest, error) { return digest.FromBytes(b), nil }); err != nil {
			return err
		}
	}
	return nil
}
