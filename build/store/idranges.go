package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/storage/pkg/idtools"

	"github.com/cooperbuild/cooper/build/store/uses"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/userns"
)

const (
	// idRangesDir has a file for each build with ranges of its own: its maps as JSON, locked (flock) while the build
	// lives.
	idRangesDir  = "userns"
	idRangesLock = "userns.lock"
)

// IDRanges are the ranges of IDs that one build uses alone. Close, or the end of the process, frees them.
type IDRanges struct {
	store *Store
	file  *os.File
	maps  []userns.Mapping
}

// NewIDRanges makes a set of ranges that is empty.
func (s *Store) NewIDRanges(ctx context.Context) (r *IDRanges, err error) {
	if err := os.MkdirAll(filepath.Join(s.dir, idRangesDir), 0o700); err != nil {
		return nil, fmt.Errorf("record ranges of IDs: %w", err)
	}
	unlock, err := s.lockIDRanges(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err := os.CreateTemp(filepath.Join(s.dir, idRangesDir), "")
	if err != nil {
		return nil, fmt.Errorf("record ranges of IDs: %w", err)
	}
	r = &IDRanges{store: s, file: f}
	if err := flock.Lock(ctx, f, flock.Exclusive); err != nil {
		return nil, errors.Join(fmt.Errorf("lock ranges of IDs: %w", err), r.Close())
	}
	return r, nil
}

// Add calls choose with the mappings (container IDs to intermediate IDs) that other builds and the containers of the
// store use, and adds the mapping that it chooses. No other build chooses meanwhile. Mappings that this IDRanges has
// already are not among used: the steps of a build may share IDs.
func (r *IDRanges) Add(ctx context.Context,
	choose func(used []userns.Mapping) (userns.Mapping, error)) (m userns.Mapping, err error) {
	unlock, err := r.store.lockIDRanges(ctx)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	used, err := r.store.usedIDRanges(filepath.Base(r.file.Name()))
	if err != nil {
		return m, err
	}
	if m, err = choose(used); err != nil {
		return m, err
	}
	maps := append(r.maps, m)
	text, err := json.Marshal(maps)
	if err == nil {
		_, err = r.file.WriteAt(text, 0) // maps are only added, so the new text covers the old one
	}
	if err != nil {
		return m, fmt.Errorf("record ranges of IDs: %w", err)
	}
	r.maps = maps
	return m, nil
}

// Close frees the ranges.
func (r *IDRanges) Close() error { return errors.Join(os.Remove(r.file.Name()), r.file.Close()) }

// lockIDRanges takes the lock that is held to make, read or remove the files.
func (s *Store) lockIDRanges(ctx context.Context) (unlock func() error, err error) {
	f, err := flock.File(ctx, filepath.Join(s.dir, idRangesLock), flock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("lock ranges of IDs: %w", err)
	}
	return f.Close, nil
}

// usedIDRanges gives the mappings of running builds, except those in the file own, and of containers. The caller holds
// the lock.
func (s *Store) usedIDRanges(own string) ([]userns.Mapping, error) {
	used, err := s.containerMaps()
	if err != nil {
		return nil, err
	}
	err = s.eachIDRanges(func(name string, f *os.File) error {
		if name == own {
			return nil
		}
		text, err := io.ReadAll(f)
		if err != nil || len(text) == 0 { // empty: that build has chosen no range yet
			return err
		}
		var maps []userns.Mapping
		if err := json.Unmarshal(text, &maps); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		used = append(used, maps...)
		return nil
	})
	return used, err
}

// eachIDRanges calls live for the files of running builds and removes those of builds that were killed.
func (s *Store) eachIDRanges(live func(name string, f *os.File) error) error {
	if err := uses.EachLive(filepath.Join(s.dir, idRangesDir), live); err != nil {
		return fmt.Errorf("read ranges of IDs: %w", err)
	}
	return nil
}

// removeIDRanges removes the files of builds that were killed.
func (s *Store) removeIDRanges(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(s.dir, idRangesDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := s.lockIDRanges(ctx)
	if err != nil {
		return err
	}
	return errors.Join(s.eachIDRanges(func(string, *os.File) error { return nil }), unlock())
}

// containerMaps gives the mappings of the store's containers that have one.
func (s *Store) containerMaps() ([]userns.Mapping, error) {
	containers, err := s.store.Containers()
	if err != nil {
		return nil, fmt.Errorf("look for the ID maps of containers: %w", err)
	}
	var maps []userns.Mapping
	for _, c := range containers {
		if len(c.UIDMap) > 0 || len(c.GIDMap) > 0 {
			maps = append(maps, userns.Mapping{UIDs: storageMap(c.UIDMap), GIDs: storageMap(c.GIDMap)})
		}
	}
	return maps, nil
}

func storageMap(from []idtools.IDMap) userns.Map {
	m := make(userns.Map, len(from))
	for i, r := range from {
		m[i] = userns.Range{Container: uint32(r.ContainerID), Host: uint32(r.HostID), Length: uint32(r.Size)}
	}
	return m
}
