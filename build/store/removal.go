package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/store/scratch"
	"github.com/cooperbuild/cooper/build/store/uses"
)

// RemoveItems removes what DiskItems has listed, in an order that disk.Choose gives. What has come into use meanwhile
// stays. It returns what is gone, with an error too. The caller has LockRemoval's lock.
func (s *Store) RemoveItems(ctx context.Context, items []disk.Item) (gone []disk.Item, err error) {
	r := &remover{store: s, chosen: map[string]bool{}, gone: map[string]bool{}}
	for _, i := range items {
		if i.Kind == disk.Layers {
			r.chosen[i.ID] = true
		}
	}
	var errs []error
	for _, i := range items {
		if err := context.Cause(ctx); err != nil {
			errs = append(errs, err)
			break
		}
		ok, err := r.remove(ctx, i)
		if err != nil && !Unknown(err) { // another tool removes, too
			errs = append(errs, fmt.Errorf("remove %s %s: %w", i.Kind, i.Name(), err))
		}
		if ok {
			r.gone[i.ID] = true
		}
	}
	for _, i := range items {
		if r.gone[i.ID] || i.Bound && r.gone[i.On] {
			gone = append(gone, i)
		}
	}
	if r.layers > 0 {
		errs = append(errs, s.uses.Remeasure(ctx))
	}
	return gone, errors.Join(errs...)
}

// remover removes a list of items.
type remover struct {
	store *Store
	// chosen are the layers that are to go, and gone the IDs of what is gone.
	chosen, gone map[string]bool
	// layers counts those that are gone.
	layers int
}

func (r *remover) remove(ctx context.Context, i disk.Item) (bool, error) {
	s := r.store
	switch i.Kind {
	case disk.Layers:
		if r.gone[i.ID] { // with one above it
			return true, nil
		}
		return r.layer(ctx, i.ID)
	case disk.Shifted:
		mapping, id, _ := strings.Cut(i.ID, "/")
		return s.removeDir(ctx, uses.Thing{Kind: uses.Copies, Name: mapping + "." + id}, filepath.Join(s.dir, shiftedDir, mapping), id)
	case disk.Mounts:
		key, number, _ := strings.Cut(i.ID, "/")
		return s.removeDir(ctx, uses.Thing{Kind: uses.Mounts, Name: key + "." + number}, filepath.Join(s.dir, mountsDir, key), number)
	case disk.Records:
		if i.Bound {
			return false, nil
		}
		return s.removeImageRecord(ctx, strings.TrimPrefix(i.ID, imagePrefix))
	}
	return false, fmt.Errorf("no way to remove %s", i.Kind)
}

// removeDir removes a directory that cooper keeps, and the files beside it: first its name, then what is in it.
func (s *Store) removeDir(ctx context.Context, u uses.Thing, parent, name string) (done bool, err error) {
	tmp, remove, err := s.TempDir(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	path := filepath.Join(parent, name)
	err = s.uses.WhileDeciding(ctx, func() error {
		if free, err := s.uses.Unused(u); err != nil || !free {
			return err
		}
		// Without its mark a mount that is still there is filled again; with it an empty one would be taken as it is.
		if err := removeFiles(path + madeSuffix); err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(tmp, "gone")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		done = true
		_ = os.Remove(path + lockSuffix)
		_ = os.Remove(parent) // if it was the only one
		return s.uses.Forget(u)
	})
	if err != nil {
		return done, err
	}
	return done, scratch.RemoveAll(filepath.Join(tmp, "gone"))
}

func removeFiles(paths ...string) error {
	var errs []error
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeImageRecord removes an image of cooper's own that holds no layer alone.
func (s *Store) removeImageRecord(ctx context.Context, id string) (done bool, err error) {
	err = s.uses.WhileDeciding(ctx, func() error {
		free, err := s.uses.Unused(uses.Thing{Kind: uses.Images, Name: id})
		if err != nil || !free {
			return err
		}
		h, err := s.holding()
		if err != nil || !slices.ContainsFunc(h.own, func(img storage.Image) bool { return img.ID == id }) {
			return err
		}
		if layers, err := s.store.DeleteImage(id, false); err != nil || len(layers) > 0 {
			return err
		}
		if _, err := s.store.DeleteImage(id, true); err != nil {
			return err
		}
		done = true
		return s.uses.Forget(uses.Thing{Kind: uses.Images, Name: id})
	})
	return done, err
}

// layer removes a layer, with those chosen below it that only it holds. What is decided is written down at once: the
// layers are marked, so that no build takes them any more, and the images on them are gone. A new image that nobody
// knows holds the layers until they are removed, which may take long, after that.
func (r *remover) layer(ctx context.Context, id string) (bool, error) {
	s := r.store
	var going []string
	var holder string
	err := s.uses.WhileDeciding(ctx, func() (err error) {
		h, err := s.holding()
		if err != nil {
			return err
		}
		oldest, err := s.uses.Oldest()
		if err != nil {
			return err
		}
		var rest string
		if going, rest = r.going(h, id, oldest); len(going) == 0 {
			return nil
		}
		holder, err = s.condemn(h, going, rest)
		return err
	})
	if err != nil || len(going) == 0 {
		return false, err
	}
	// by another tool, which takes an image without a name for useless
	if _, err = s.store.DeleteImage(holder, true); Unknown(err) {
		err = nil
	}
	for _, layer := range going {
		if s.store.Exists(layer) {
			err = errors.Join(err, s.uses.Absolve(layer))
			continue
		}
		r.gone[layer] = true
		r.layers++
		err = errors.Join(err, s.uses.Forget(uses.Thing{Kind: uses.Layers, Name: layer}), s.uses.Absolve(layer))
	}
	return r.gone[id], err
}

// going are the layers that go at once, from the given one down, and what stays below them.
func (r *remover) going(h *holding, id string, oldest time.Time) (going []string, rest string) {
	for ; id != "" && h.layers[id] != nil; id = h.layers[id].Parent {
		above := 0 // of its children one has been found to go
		if len(going) > 0 {
			above = 1
		}
		if !r.chosen[id] || h.kept[id] || h.children[id] > above || above > 0 && h.tops[id] > 0 ||
			!r.store.uses.LastUse(uses.Thing{Kind: uses.Layers, Name: id}).Before(oldest) {
			return going, id
		}
		going = append(going, id)
	}
	return going, ""
}

// condemn marks layers, has an image hold them and removes those that did before. Another one holds what stays, if
// nothing else does. The caller is whileDeciding.
func (s *Store) condemn(h *holding, going []string, rest string) (holder string, err error) {
	if rest != "" && h.tops[rest] == 0 && h.children[rest] == 1 {
		if err := s.putKeeper(rest); err != nil {
			return "", err
		}
	}
	if holder, err = s.putHolder(going[0]); err != nil {
		return "", err
	}
	if err := s.uses.Condemn(going); err != nil {
		return "", err
	}
	for _, img := range h.own {
		if img.TopLayer != going[0] {
			continue
		}
		// The names are looked at once more: other tools don't know of our lock.
		if now, err := s.store.Image(img.ID); err == nil && len(givenNames(now)) > 0 {
			continue
		}
		if _, err := s.store.DeleteImage(img.ID, true); err != nil && !Unknown(err) &&
			!errors.Is(err, storage.ErrImageUsedByContainer) {
			return "", err
		}
		if err := s.uses.Forget(uses.Thing{Kind: uses.Images, Name: img.ID}); err != nil {
			return "", err
		}
	}
	return holder, nil
}

// putHolder makes an image without a name that holds a layer and those below. Its config is like no other.
func (s *Store) putHolder(top string) (id string, err error) {
	chain, err := s.Chain(top)
	if err != nil {
		return "", err
	}
	nonce, err := randomID()
	if err != nil {
		return "", err
	}
	now := time.Now().UTC()
	config := ocispec.Image{Created: &now, RootFS: ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	config.OS, config.Architecture, config.Author = "linux", "unknown", "cooper cache "+nonce
	for _, l := range chain {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, l.DiffID)
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	img, o, err := imageOf(ImageRecord{Config: raw, Layers: chain, Created: now})
	if err != nil {
		return "", err
	}
	_, err = s.store.CreateImage(img.ID, nil, img.TopLayer, img.Metadata, o)
	return img.ID, err
}
