package images

import (
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/registry/content"
)

// PutCopy writes the image's record as containers/image does, item for item. Without a name the image is the cache's
// if cached says so.
func (r *Room) PutCopy(img *content.Image, top, name string, cached bool) error {
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
	if name == "" && cached {
		options.Flags = map[string]any{ownFlag: true}
	}

	_, err := r.library.CreateImage(id, nil, top, metadata, options)
	if errors.Is(err, storage.ErrDuplicateID) {
		err = r.update(id, top, items)
	}
	if err != nil {
		return fmt.Errorf("record image: %w", err)
	}
	if name != "" {
		if err := r.Name(id, []string{name}); err != nil {
			return fmt.Errorf("name image: %w", err)
		}
	}

	return nil
}

func manifestKey(d digest.Digest) string {
	return storage.ImageDigestManifestBigDataNamePrefix + "-" + d.String()
}

// update adds to an image that is there already the items that this pull has brought.
func (r *Room) update(id, top string, items []storage.ImageBigDataOption) error {
	old, err := r.library.Image(id)
	if err != nil {
		return err
	}
	if old.TopLayer != top {
		return fmt.Errorf("image %s is in the store with the top layer %s, not %s", id, old.TopLayer, top)
	}
	return r.addItems(id, items, true)
}

// addItems gives an image the items that it lacks. With renew it also replaces those that differ.
func (r *Room) addItems(id string, items []storage.ImageBigDataOption, renew bool) error {
	old, err := r.library.Image(id)
	if err != nil {
		return err
	}
	for _, item := range items {
		if have, ok := old.BigDataDigests[item.Key]; have == item.Digest || ok && !renew {
			continue
		}
		if err := r.library.SetImageBigData(id, item.Key, item.Data,
			func(b []byte) (digest.Digest, error) { return digest.FromBytes(b), nil }); err != nil {
			return err
		}
	}
	return nil
}
