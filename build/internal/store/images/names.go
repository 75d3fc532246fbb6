package images

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/internal/store"
)

// keepName is the name of an image that only the cache needs. Other tools' clean-up (podman image prune) takes images
// without a name along, and with them the layers that the next build would find.
func keepName(id string) string { return "localhost/cooper-cache:" + Short(id) }

// GivenNames are the names of an image that somebody gave it.
func GivenNames(img *storage.Image) []string {
	keep := keepName(img.ID)
	return slices.DeleteFunc(slices.Clone(img.Names), func(n string) bool { return n == keep })
}

// Name gives an image names, each of which is taken from the image that has it. An image gets its keepName
// only if it has no other name.
func (r *Room) Name(id string, names []string) error {
	img, err := r.library.Image(id)
	if err != nil {
		return fmt.Errorf("add names: %w", err)
	}
	keep := keepName(id)
	missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return slices.Contains(img.Names, n) || n == keep && len(img.Names) > 0
	})
	if len(missing) > 0 { // to write them again would cost a sync
		if err := r.keepOthers(id, missing); err != nil {
			return err
		}
		if err := r.library.AddNames(id, missing); err != nil {
			return fmt.Errorf("add names: %w", err)
		}
	}
	if len(names) == 0 || slices.Contains(names, keep) || !slices.Contains(img.Names, keep) {
		return nil
	}
	if err := r.library.RemoveNames(id, []string{keep}); err != nil {
		return fmt.Errorf("remove a name of the cache's: %w", err)
	}
	return nil
}

// keepOthers gives images of cooper's own that are about to lose their last name to id a keepName.
func (r *Room) keepOthers(id string, names []string) error {
	for _, name := range names {
		old, err := r.library.Image(name)
		if err != nil || old.ID == id || old.TopLayer == "" || !Own(old) ||
			!slices.Contains(old.Names, name) ||
			slices.ContainsFunc(old.Names, func(n string) bool { return !slices.Contains(names, n) }) {
			continue
		}
		if err := r.library.AddNames(old.ID, []string{keepName(old.ID)}); err != nil {
			return fmt.Errorf("keep image %s for the cache: %w", old.ID, err)
		}
	}
	return nil
}

// PutKeeper makes an image that keeps a layer and those below for the cache.
func (r *Room) PutKeeper(top string) error {
	id, err := r.PutHolder(top)
	if err != nil {
		return err
	}
	return r.Name(id, []string{keepName(id)})
}

// RemoveHalf removes images whose makers were killed before they had a manifest: podman lists no images beside
// one. Another image holds the layers for the cache. Images that are just being made aren't removed: the library shows
// none before it is complete.
func (r *Room) RemoveHalf() error {
	images, err := r.library.Images()
	if err != nil {
		return err
	}
	for _, img := range images {
		if HasManifest(&img) || !Own(&img) && len(img.Names) > 0 {
			continue
		}
		if img.TopLayer != "" { // an index has no layers
			if _, err := r.PutHolder(img.TopLayer); err != nil && !store.Unknown(err) {
				return err
			}
		}
		if _, err := r.library.DeleteImage(img.ID, true); err != nil && !store.Unknown(err) &&
			!errors.Is(err, storage.ErrImageUsedByContainer) {
			return err
		}
	}
	return nil
}

// HasManifest tells whether an image's record is whole.
func HasManifest(img *storage.Image) bool {
	return slices.Contains(img.BigDataNames, storage.ImageDigestBigDataKey)
}

// PutHolder makes an image without a name that holds a layer and those below. Its config is like that of no other
// image, so that it gets an ID of its own.
func (r *Room) PutHolder(top string) (id string, err error) {
	chain, err := r.store.Chain(top)
	if err != nil {
		return "", err
	}
	now := time.Now().UTC()
	config := ocispec.Image{Created: &now, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	config.OS, config.Architecture, config.Author = "linux", "unknown", "cooper cache "+rand.Text()
	for _, l := range chain {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	img, o, err := imageOf(Record{Config: raw, Layers: chain, Created: now})
	if err != nil {
		return "", err
	}
	_, err = r.library.CreateImage(img.ID, nil, img.TopLayer, img.Metadata, o)
	return img.ID, err
}

// Short is an image's ID as people are shown it.
func Short(id string) string { return id[:min(len(id), shortID)] }

// Own tells whether an image is cooper's own as long as it has no name. Images that other tools have made, or that were
// pulled under a name, are not.
func Own(img *storage.Image) bool { return img.Flags[ownFlag] == true }
