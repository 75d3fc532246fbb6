package store

import (
	"errors"
	"fmt"
	"slices"

	"go.podman.io/storage"
)

// keepName is the name of an image that only the cache needs. Other tools' clean-up (podman image prune) takes images
// without a name along, and with them the layers that the next build would find.
func keepName(id string) string { return "localhost/cooper-cache:" + short(id) }

// givenNames are the names of an image that somebody gave it.
func givenNames(img *storage.Image) []string {
	keep := keepName(img.ID)
	return slices.DeleteFunc(slices.Clone(img.Names), func(n string) bool { return n == keep })
}

// nameImage gives an image names, each of which is taken from the image that has it. The name that keeps an image is
// for one that has no other.
func (s *Store) nameImage(id string, names []string) error {
	img, err := s.store.Image(id)
	if err != nil {
		return fmt.Errorf("add names: %w", err)
	}
	keep := keepName(id)
	missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		return slices.Contains(img.Names, n) || n == keep && len(img.Names) > 0
	})
	if len(missing) > 0 { // to write them again would cost a sync
		if err := s.keepOthers(id, missing); err != nil {
			return err
		}
		if err := s.store.AddNames(id, missing); err != nil {
			return fmt.Errorf("add names: %w", err)
		}
	}
	if len(names) == 0 || slices.Contains(names, keep) || !slices.Contains(img.Names, keep) {
		return nil
	}
	if err := s.store.RemoveNames(id, []string{keep}); err != nil {
		return fmt.Errorf("remove a name of the cache's: %w", err)
	}
	return nil
}

// keepOthers gives images of cooper's own that are about to lose their last name the one that keeps them.
func (s *Store) keepOthers(id string, names []string) error {
	for _, name := range names {
		old, err := s.store.Image(name)
		if err != nil || old.ID == id || old.TopLayer == "" || old.Flags[ownFlag] != true ||
			!slices.Contains(old.Names, name) ||
			slices.ContainsFunc(old.Names, func(n string) bool { return !slices.Contains(names, n) }) {
			continue
		}
		if err := s.store.AddNames(old.ID, []string{keepName(old.ID)}); err != nil {
			return fmt.Errorf("keep image %s for the cache: %w", old.ID, err)
		}
	}
	return nil
}

// putKeeper makes an image that keeps a layer and those below for the cache.
func (s *Store) putKeeper(top string) error {
	id, err := s.putHolder(top)
	if err != nil {
		return err
	}
	return s.nameImage(id, []string{keepName(id)})
}

// removeHalfImages removes images whose makers were killed before they had a manifest: podman lists no images beside
// one. Another image holds the layers for the cache. The library gives nobody a look at one that is just being made.
func (s *Store) removeHalfImages() error {
	images, err := s.store.Images()
	if err != nil {
		return err
	}
	for _, img := range images {
		if hasManifest(&img) || img.Flags[ownFlag] != true && len(img.Names) > 0 {
			continue
		}
		if _, err := s.putHolder(img.TopLayer); err != nil && !Unknown(err) {
			return err
		}
		if _, err := s.store.DeleteImage(img.ID, true); err != nil && !Unknown(err) &&
			!errors.Is(err, storage.ErrImageUsedByContainer) {
			return err
		}
	}
	return nil
}

// hasManifest tells whether an image's record is whole.
func hasManifest(img *storage.Image) bool {
	return slices.Contains(img.BigDataNames, storage.ImageDigestBigDataKey)
}
