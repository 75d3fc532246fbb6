package mend

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"go.podman.io/storage"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/durable"
	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/removal"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Room mends one store.
type Room struct {
	store   *store.Store
	library *library.Library
	durable *durable.Record
	images  *images.Room
	removal *removal.Room
	// tellUser is given what a user should know of what a crash has cost; nil: nobody is told.
	tellUser func(text string)
}

// New gives the room that mends a store. tell is given what a user should know of what a crash has cost; nil: nobody is
// told.
func New(s *store.Store, i *images.Room, r *removal.Room, tell func(text string)) *Room {
	return &Room{store: s, library: library.Of(s.Parts().Library), durable: s.Parts().Durable, images: i, removal: r,
		tellUser: tell}
}

// Mend looks at what may have been lost if the store's file system was mounted anew since its layers were last written
// to the disk, as after a power cut: layers that were younger are measured against their digests, and go with all that
// stands on them if they are wrong. It is done before anything of the store is used, and costs a look at one file if
// there is nothing to do.
func (r *Room) Mend(ctx context.Context) error {
	same, _, err := r.durable.Read()
	if err == nil && same && len(r.store.Parts().Aside) == 0 {
		return nil
	}
	unlock, err := r.durable.Lock(ctx)
	if err != nil {
		return fmt.Errorf("look for what was lost: %w", err)
	}
	if err = errors.Join(r.mendLocked(ctx), unlock()); err != nil {
		return fmt.Errorf("look for what was lost when the disk was last stopped: %w", err)
	}
	return nil
}

func (r *Room) mendLocked(ctx context.Context) error {
	same, at, err := r.durable.Read()
	first := errors.Is(err, fs.ErrNotExist)
	switch {
	case first && len(r.store.Parts().Aside) == 0:
		return r.noteMended() // what there is was made by others, or by a cooper that kept no note
	case err != nil && !first:
		return err
	case err == nil && same && len(r.store.Parts().Aside) == 0:
		return nil // another process has mended the store meanwhile
	}
	m := &mender{Room: r, bad: map[string]bool{}}
	if err := m.run(ctx); err != nil {
		return err
	}
	if err := r.removal.RemoveYounger(ctx, at); err != nil {
		return err
	}
	return r.noteMended()
}

// noteMended writes down that all layers of the store are on the disk. If the disk is too full for that it is no error:
// the command may be the one that gives space back, and the next one mends again.
func (r *Room) noteMended() error {
	if err := r.durable.Sync(); err != nil && !store.DiskRefuses(err) {
		return err
	}
	return nil
}

// mender finds what was lost, and removes what can't be used without it.
type mender struct {
	*Room

	layers map[string]*storage.Layer // all layers of the store, by ID
	mu     sync.Mutex
	// mu guards bad: the IDs of the layers that lack something, and of those above them.
	bad map[string]bool
	// lost are the names of images that are gone.
	lost []string
}

func (m *mender) run(ctx context.Context) error {
	layers, err := m.library.Layers()
	if err != nil {
		return err
	}

	containers, err := m.library.Containers()
	if err != nil {
		return err
	}

	m.layers = map[string]*storage.Layer{}
	for i := range layers {
		m.layers[layers[i].ID] = &layers[i]
	}

	writable := map[string]bool{}
	for _, c := range containers {
		writable[c.LayerID] = true
	}

	if err := m.measureAll(ctx, writable); err != nil {
		return err
	}
	m.spread()
	if err := m.removeImages(); err != nil {
		return err
	}
	if err := m.removeLayers(); err != nil {
		return err
	}

	m.report()
	if len(m.bad)+len(m.store.Parts().Aside) == 0 {
		return nil
	}
	return m.library.GarbageCollect()
}

// measureAll measures the layers that aren't known to be on the disk, but for those of containers, which have no
// digest.
func (m *mender) measureAll(ctx context.Context, writable map[string]bool) error {
	var suspects []*storage.Layer
	var size int64
	for _, l := range m.layers {
		if l.ReadOnly || writable[l.ID] || m.durable.Synced(l) {
			continue
		}
		suspects = append(suspects, l)
		size += max(0, l.UncompressedSize)
	}

	const worthWords = 256 << 20 // bytes from which on the user is told of the reading: less takes a moment
	if size > worthWords {
		m.tell(fmt.Sprintf("checking %d layers (%s) that were not yet on the disk for sure when it was last stopped",
			len(suspects), disk.FormatSize(size)))
	}

	const readers = 2
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for _, l := range suspects {
		group.Go(func() error {
			err := guard.Call(func() error { return m.measure(ctx, l) })
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err != nil {
				m.mu.Lock()
				defer m.mu.Unlock()
				m.bad[l.ID] = true
			}
			return nil
		})
	}

	return group.Wait()
}

// spread marks as bad the layers above bad ones, and those whose parent is gone.
func (m *mender) spread() {
	for changed := true; changed; {
		changed = false
		for id, l := range m.layers {
			if !m.bad[id] && l.Parent != "" && (m.bad[l.Parent] || m.layers[l.Parent] == nil &&
				!m.library.Exists(l.Parent)) {
				m.bad[id], changed = true, true
			}
		}
	}
}

// removeImages removes the images that have lost layers, or parts of their records. What is whole below them stays for
// the cache.
func (m *mender) removeImages() error {
	all, err := m.library.Images()
	if err != nil {
		return err
	}

	held := map[string]bool{} // the IDs of the whole layers on which images are
	var broken []storage.Image
	for _, img := range all {
		switch {
		case img.ReadOnly:
		case m.whole(&img):
			held[img.TopLayer] = true
		default:
			broken = append(broken, img)
		}
	}

	for _, img := range broken {
		rest := img.TopLayer
		for rest != "" && (m.bad[rest] || m.layers[rest] == nil) {
			if m.layers[rest] == nil {
				rest = ""
				break
			}
			rest = m.layers[rest].Parent
		}

		if rest != "" && !held[rest] {
			held[rest] = true
			if err := m.images.PutKeeper(rest); err != nil {
				return err
			}
		}

		_, err := m.library.DeleteImage(img.ID, true)
		// the record goes first
		if errors.Is(err, storage.ErrImageUsedByContainer) || errors.Is(err, storage.ErrLayerUnknown) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("remove image %s: %w", img.ID, err)
		}
		m.lost = append(m.lost, images.GivenNames(&img)...)
	}

	return nil
}

// whole tells whether an image's record and layers are there.
func (m *mender) whole(img *storage.Image) bool {
	if img.TopLayer != "" && (m.bad[img.TopLayer] || m.layers[img.TopLayer] == nil &&
		!m.library.Exists(img.TopLayer)) {
		return false
	}
	if !images.HasManifest(img) {
		return false
	}
	for _, key := range img.BigDataNames {
		data, err := m.library.ImageBigData(img.ID, key)
		if err != nil {
			return false
		}
		if size, ok := img.BigDataSizes[key]; ok && int64(len(data)) != size {
			return false
		}
	}
	return true
}

// removeLayers removes bad layers, highest first. Those that containers hold stay, and are never built on.
func (m *mender) removeLayers() error {
	left := map[string]bool{}
	for id := range m.bad {
		left[id] = true
	}
	for progress := true; progress && len(left) > 0; {
		progress = false
		for id := range left {
			err := m.library.DeleteLayer(id)
			switch {
			case err == nil, errors.Is(err, storage.ErrNotALayer):
				delete(left, id)
				progress = true
			case errors.Is(err, storage.ErrLayerHasChildren), errors.Is(err, storage.ErrLayerUsedByImage),
				errors.Is(err, storage.ErrLayerUsedByContainer):
			default:
				return fmt.Errorf("remove layer %s: %w", id, err)
			}
		}
	}
	for id := range left {
		m.durable.Condemn(m.layers[id])
	}
	return nil
}

func (m *mender) tell(text string) {
	if m.tellUser != nil {
		m.tellUser(text)
	}
}

// report says what is gone, in one note.
func (m *mender) report() {
	var what []string
	if len(m.store.Parts().Aside) > 0 {
		what = append(what, "records that can't be read are kept as "+strings.Join(m.store.Parts().Aside, ", "))
	}
	if len(m.bad) > 0 {
		what = append(what, fmt.Sprintf("%d layers had lost files and are removed", len(m.bad)))
	}
	if len(m.lost) > 0 {
		slices.Sort(m.lost)
		what = append(what, "these images are lost and have to be pulled or built again: "+strings.Join(m.lost, ", "))
	}
	if len(what) > 0 {
		m.tell("the store's disk was stopped before all was written to it: " + strings.Join(what, "; "))
	}
}
