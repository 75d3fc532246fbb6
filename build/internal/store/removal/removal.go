package removal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Remove removes what Items has listed, in an order that disk.Choose gives. What has come into use meanwhile
// stays. It returns what is gone, with an error too. The caller has LockRemoval's lock.
func (r *Room) Remove(ctx context.Context, items []disk.Item) (gone []disk.Item, err error) {
	w := &remover{room: r, chosen: map[string]bool{}, gone: map[string]bool{}}
	for _, i := range items {
		if i.Kind == disk.Layers {
			w.chosen[i.ID] = true
		}
	}

	var errs []error
	for _, i := range items {
		if err := context.Cause(ctx); err != nil {
			errs = append(errs, err)
			break
		}
		ok, err := w.remove(ctx, i)
		if err != nil && !store.Unknown(err) { // another tool removes, too
			errs = append(errs, fmt.Errorf("remove %s %s: %w", i.Kind, i.Name(), err))
		}
		if ok {
			w.gone[i.ID] = true
		}
	}

	for _, i := range items {
		if w.gone[i.ID] || i.Bound && w.gone[i.On] {
			gone = append(gone, i)
		}
	}

	if w.layers > 0 {
		errs = append(errs, r.uses.Remeasure(ctx))
	}
	return gone, errors.Join(errs...)
}

// remover removes a list of items.
type remover struct {
	room *Room
	// chosen are the IDs of the layers that are to go, and gone those of all items that are gone.
	chosen, gone map[string]bool
	// layers counts the layers that are gone.
	layers int
}

func (w *remover) remove(ctx context.Context, i disk.Item) (bool, error) {
	r := w.room
	switch i.Kind {
	case disk.Layers:
		if w.gone[i.ID] { // it went with a layer above it
			return true, nil
		}
		return w.layer(ctx, i.ID)
	case disk.Shifted:
		mapping, id, _ := strings.Cut(i.ID, "/")
		return r.removeDir(ctx, uses.Thing{Kind: uses.Copies, Name: mapping + "." + id},
			filepath.Join(r.store.Paths().Own, string(uses.Copies), mapping), id)
	case disk.Mounts:
		key, number, _ := strings.Cut(i.ID, "/")
		return r.removeDir(ctx, uses.Thing{Kind: uses.Mounts, Name: key + "." + number},
			filepath.Join(r.store.Paths().Own, string(uses.Mounts), key), number)
	case disk.Records:
		if i.Bound {
			return false, nil
		}
		return r.removeRecord(ctx, strings.TrimPrefix(i.ID, imagePrefix))
	}
	return false, fmt.Errorf("no way to remove %s", i.Kind)
}

// removeDir removes a directory that cooper keeps, and the files beside it: first its name, then what is in it.
func (r *Room) removeDir(ctx context.Context, u uses.Thing, parent, name string) (done bool, err error) {
	tmp, remove, err := r.store.Parts().Scratch.Dir(ctx)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	path := filepath.Join(parent, name)
	err = r.uses.WhileDeciding(ctx, func() error {
		if free, err := r.uses.Unused(u); err != nil || !free {
			return err
		}
		// Without its mark a mount that is still there is filled again; with it an empty one would be taken as it is.
		if err := fsys.RemoveFiles(path + uses.MadeSuffix); err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(tmp, scratch.Gone)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		done = true
		_ = os.Remove(path + uses.LockSuffix)
		_ = os.Remove(parent) // succeeds only if parent has no other directories
		return r.uses.Forget(u)
	})
	if err != nil {
		return done, err
	}

	return done, scratch.RemoveAll(filepath.Join(tmp, scratch.Gone))
}

// removeRecord removes an image of cooper's own that holds no layer alone.
func (r *Room) removeRecord(ctx context.Context, id string) (done bool, err error) {
	err = r.uses.WhileDeciding(ctx, func() error {
		free, err := r.uses.Unused(uses.Thing{Kind: uses.Images, Name: id})
		if err != nil || !free {
			return err
		}
		h, err := r.holding()
		if err != nil || !slices.ContainsFunc(h.own, func(img storage.Image) bool { return img.ID == id }) {
			return err
		}
		if layers, err := r.library.DeleteImage(id, false); err != nil || len(layers) > 0 {
			return err
		}
		if _, err := r.library.DeleteImage(id, true); err != nil {
			return err
		}
		done = true
		return r.uses.Forget(uses.Thing{Kind: uses.Images, Name: id})
	})
	return done, err
}

// layer removes a layer, with those chosen below it that only it holds. What is decided is written down at once: the
// layers are marked, so that no build takes them any more, and the images on them are gone. A new image that nobody
// knows holds the layers until they are removed, which may take long, after that.
func (w *remover) layer(ctx context.Context, id string) (bool, error) {
	r := w.room
	var going []string
	var holder string
	err := r.uses.WhileDeciding(ctx, func() (err error) {
		h, err := r.holding()
		if err != nil {
			return err
		}
		oldest, err := r.uses.Oldest()
		if err != nil {
			return err
		}
		var rest string
		if going, rest = w.going(h, id, oldest); len(going) == 0 {
			return nil
		}
		holder, err = r.condemn(h, going, rest)
		return err
	})
	if err != nil || len(going) == 0 {
		return false, err
	}

	// Another tool may have removed the holder: it takes an image without a name for useless.
	if _, err = r.library.DeleteImage(holder, true); store.Unknown(err) {
		err = nil
	}

	for _, layer := range going {
		if r.library.Exists(layer) {
			err = errors.Join(err, r.uses.Absolve(layer))
			continue
		}
		w.gone[layer] = true
		w.layers++
		err = errors.Join(err, r.uses.Forget(uses.Thing{Kind: uses.Layers, Name: layer}), r.uses.Absolve(layer))
	}

	return w.gone[id], err
}

// going are the layers that go at once, from the given one down, and what stays below them.
func (w *remover) going(h *holding, id string, oldest time.Time) (going []string, rest string) {
	for ; id != "" && h.layers[id] != nil; id = h.layers[id].Parent {
		above := 0 // of its children one has been found to go
		if len(going) > 0 {
			above = 1
		}
		if !w.chosen[id] || h.kept[id] || h.children[id] > above || above > 0 && h.tops[id] > 0 ||
			!w.room.uses.LastUse(uses.Thing{Kind: uses.Layers, Name: id}).Before(oldest) {
			return going, id
		}
		going = append(going, id)
	}
	return going, ""
}

// condemn marks layers, has an image hold them and removes those that did before. Another one holds what stays, if
// nothing else does. It is called within WhileDeciding.
func (r *Room) condemn(h *holding, going []string, rest string) (holder string, err error) {
	if rest != "" && h.tops[rest] == 0 && h.children[rest] == 1 {
		if err := r.images.PutKeeper(rest); err != nil {
			return "", err
		}
	}
	if holder, err = r.images.PutHolder(going[0]); err != nil {
		return "", err
	}
	if err := r.uses.Condemn(going); err != nil {
		return "", err
	}

	for _, img := range h.own {
		if img.TopLayer != going[0] {
			continue
		}
		// The names are looked at once more, since other tools don't take LockRemoval's lock.
		if now, err := r.library.Image(img.ID); err == nil && len(images.GivenNames(now)) > 0 {
			continue
		}
		if _, err := r.library.DeleteImage(img.ID, true); err != nil && !store.Unknown(err) &&
			!errors.Is(err, storage.ErrImageUsedByContainer) {
			return "", err
		}
		if err := r.uses.Forget(uses.Thing{Kind: uses.Images, Name: img.ID}); err != nil {
			return "", err
		}
	}

	return holder, nil
}
