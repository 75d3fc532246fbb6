package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/store/uses"
	"github.com/cooperbuild/cooper/internal/guard"
)

// mend looks at what may have been lost if the store's file system was mounted anew since its layers were last written
// to the disk, as after a power cut: layers that were younger are measured against their digests, and go with all that
// stands on them if they are wrong. It is done before anything of the store is used, and costs a look at one file if
// there is nothing to do.
func (s *Store) mend(ctx context.Context) error {
	n, _, err := s.readSynced()
	if err == nil && n.Uptime == s.durable.uptime && len(s.aside) == 0 {
		return nil
	}
	unlock, err := s.lockSynced(ctx)
	if err != nil {
		return fmt.Errorf("look for what was lost: %w", err)
	}
	if err = errors.Join(s.mendLocked(ctx), unlock()); err != nil {
		return fmt.Errorf("look for what was lost when the disk was last stopped: %w", err)
	}
	return nil
}

func (s *Store) mendLocked(ctx context.Context) error {
	n, at, err := s.readSynced()
	first := errors.Is(err, fs.ErrNotExist)
	switch {
	case first && len(s.aside) == 0:
		return s.noteMended() // what there is was made by others, or by a cooper that kept no note
	case err != nil && !first:
		return err
	case err == nil && n.Uptime == s.durable.uptime && len(s.aside) == 0:
		return nil // another process has done it
	}
	m := &mender{store: s, bad: map[string]bool{}}
	if err := m.run(ctx); err != nil {
		return err
	}
	if err := s.forgetYounger(ctx, at); err != nil {
		return err
	}
	return s.noteMended()
}

// noteMended has all that is there count as safe. A full disk, which is to be given room, can do without: it is mended
// again by the next command.
func (s *Store) noteMended() error {
	if err := s.sync(); err != nil && !DiskRefuses(err) {
		return err
	}
	return nil
}

// mender finds what was lost, and removes what can't be used without it.
type mender struct {
	store *Store

	layers map[string]*storage.Layer
	mu     sync.Mutex
	// bad are the layers that lack something, and those above them.
	bad map[string]bool
	// lost are the names of images that are gone.
	lost []string
}

func (m *mender) run(ctx context.Context) error {
	s := m.store
	layers, err := s.store.Layers()
	if err != nil {
		return err
	}
	containers, err := s.store.Containers()
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
	if len(m.bad)+len(s.aside) == 0 {
		return nil
	}
	return s.store.GarbageCollect()
}

// measureAll measures the layers that aren't known to be on the disk, but for those of containers, which have no
// digest.
func (m *mender) measureAll(ctx context.Context, writable map[string]bool) error {
	s := m.store
	var suspects []*storage.Layer
	var size int64
	for _, l := range m.layers {
		if l.ReadOnly || writable[l.ID] || s.durable.synced[markOf(l)] {
			continue
		}
		suspects = append(suspects, l)
		size += max(0, l.UncompressedSize)
	}
	const worthWords = 256 << 20 // bytes: less is read in a moment
	if size > worthWords {
		m.tell(fmt.Sprintf("checking %d layers (%s) that were not yet on the disk for sure when it was last stopped",
			len(suspects), disk.FormatSize(size)))
	}
	const readers = 2
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(readers)
	for _, l := range suspects {
		group.Go(func() error {
			err := guard.Call(func() error { return s.measure(ctx, l) })
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

// spread marks what stands on bad layers, or on none where there was one, as bad.
func (m *mender) spread() {
	for changed := true; changed; {
		changed = false
		for id, l := range m.layers {
			if !m.bad[id] && l.Parent != "" && (m.bad[l.Parent] || m.layers[l.Parent] == nil &&
				!m.store.store.Exists(l.Parent)) {
				m.bad[id], changed = true, true
			}
		}
	}
}

// removeImages removes the images that have lost layers, or parts of their records. What is whole below them stays for
// the cache.
func (m *mender) removeImages() error {
	s := m.store
	images, err := s.store.Images()
	if err != nil {
		return err
	}
	held := map[string]bool{} // the whole layers that images are on
	var broken []storage.Image
	for _, img := range images {
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
			if err := s.putKeeper(rest); err != nil {
				return err
			}
		}
		_, err := s.store.DeleteImage(img.ID, true)
		// the record goes first
		if errors.Is(err, storage.ErrImageUsedByContainer) || errors.Is(err, storage.ErrLayerUnknown) {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("remove image %s: %w", img.ID, err)
		}
		m.lost = append(m.lost, givenNames(&img)...)
	}
	return nil
}

// whole tells whether an image's record and layers are there.
func (m *mender) whole(img *storage.Image) bool {
	if img.TopLayer != "" && (m.bad[img.TopLayer] || m.layers[img.TopLayer] == nil &&
		!m.store.store.Exists(img.TopLayer)) {
		return false
	}
	if !hasManifest(img) {
		return false
	}
	for _, key := range img.BigDataNames {
		data, err := m.store.store.ImageBigData(img.ID, key)
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
	s := m.store
	left := map[string]bool{}
	for id := range m.bad {
		left[id] = true
	}
	for progress := true; progress && len(left) > 0; {
		progress = false
		for id := range left {
			err := s.store.DeleteLayer(id)
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
	s.durable.mu.Lock()
	defer s.durable.mu.Unlock()
	for id := range left {
		s.durable.damaged[markOf(m.layers[id])] = true
	}
	return nil
}

func (m *mender) tell(text string) {
	if m.store.tell != nil {
		m.store.tell(text)
	}
}

// report says what is gone, in one note.
func (m *mender) report() {
	var what []string
	if len(m.store.aside) > 0 {
		what = append(what, "records that can't be read are kept as "+strings.Join(m.store.aside, ", "))
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

// forgetYounger removes the cache mounts and shifted copies that were used since a time: nobody knows what they lost.
func (s *Store) forgetYounger(ctx context.Context, than time.Time) error {
	for kind, base := range map[uses.Kind]string{uses.Mounts: mountsDir, uses.Copies: shiftedDir} {
		notes, err := s.uses.All(kind)
		if err != nil {
			return err
		}
		for name, n := range notes {
			parent, file, _ := strings.Cut(name, ".")
			if n.Last.Before(than) {
				continue
			}
			if _, err := s.removeDir(ctx, uses.Thing{Kind: kind, Name: name}, filepath.Join(s.dir, base, parent), file); err != nil {
				return fmt.Errorf("remove %s: %w", filepath.Join(base, parent, file), err)
			}
		}
	}
	return nil
}
