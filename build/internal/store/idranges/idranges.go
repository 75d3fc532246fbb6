package idranges

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

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/userns"
)

const (
	// rangesDir has a file for each build with ranges of its own: its maps as JSON, locked (flock) while the build
	// lives.
	rangesDir  = "userns"
	rangesLock = "userns.lock"
)

// A Room has the ranges of all builds with one store. It is safe for concurrent use, by several processes too.
type Room struct {
	// dir is cooper's own directory in the store's.
	dir string
	lib *library.Library
}

// New gives the room of a store.
func New(s *store.Store) *Room { return &Room{dir: s.Paths().Own, lib: library.Of(s.Parts().Library)} }

// Ranges are the ranges of IDs that one build uses alone. Close, or the end of the process, frees them.
type Ranges struct {
	room *Room
	file *os.File         // this build's file in rangesDir, locked
	maps []userns.Mapping // what the file lists, in the order in which Add chose them
}

// Begin makes a set of ranges that is empty.
func (r *Room) Begin(ctx context.Context) (g *Ranges, err error) {
	if err := os.MkdirAll(filepath.Join(r.dir, rangesDir), 0o700); err != nil {
		return nil, fmt.Errorf("record ranges of IDs: %w", err)
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err := os.CreateTemp(filepath.Join(r.dir, rangesDir), "")
	if err != nil {
		return nil, fmt.Errorf("record ranges of IDs: %w", err)
	}
	g = &Ranges{room: r, file: f}
	if err := flock.Lock(ctx, f, flock.Exclusive); err != nil {
		return nil, errors.Join(fmt.Errorf("lock ranges of IDs: %w", err), g.Close())
	}
	return g, nil
}

// Add calls choose with the mappings (container IDs to intermediate IDs) that other builds and the containers of the
// store use, and adds the mapping that it chooses. No other build chooses meanwhile. Mappings that these Ranges have
// already are not among used: the steps of a build may share IDs.
func (g *Ranges) Add(ctx context.Context,
	choose func(used []userns.Mapping) (userns.Mapping, error)) (m userns.Mapping, err error) {
	unlock, err := g.room.lock(ctx)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	used, err := g.room.used(filepath.Base(g.file.Name()))
	if err != nil {
		return m, err
	}
	if m, err = choose(used); err != nil {
		return m, err
	}
	maps := append(g.maps, m)
	text, err := json.Marshal(maps)
	if err == nil {
		_, err = g.file.WriteAt(text, 0) // maps are only added, so the new text covers the old one
	}
	if err != nil {
		return m, fmt.Errorf("record ranges of IDs: %w", err)
	}
	g.maps = maps
	return m, nil
}

// Close frees the ranges.
func (g *Ranges) Close() error { return errors.Join(os.Remove(g.file.Name()), g.file.Close()) }

// lock takes the lock that is held to make, read or remove the files.
func (r *Room) lock(ctx context.Context) (unlock func() error, err error) {
	f, err := flock.File(ctx, filepath.Join(r.dir, rangesLock), flock.Exclusive)
	if err != nil {
		return nil, fmt.Errorf("lock ranges of IDs: %w", err)
	}
	return f.Close, nil
}

// used gives the mappings of running builds, except those in the file own, and of containers. The caller holds
// the lock.
func (r *Room) used(own string) ([]userns.Mapping, error) {
	used, err := r.containerMaps()
	if err != nil {
		return nil, err
	}
	err = r.each(func(name string, f *os.File) error {
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

// each calls live for the files of running builds and removes those of builds that were killed.
func (r *Room) each(live func(name string, f *os.File) error) error {
	if err := uses.EachLive(filepath.Join(r.dir, rangesDir), live); err != nil {
		return fmt.Errorf("read ranges of IDs: %w", err)
	}
	return nil
}

// Sweep removes the files of builds that were killed.
func (r *Room) Sweep(ctx context.Context) error {
	if _, err := os.Lstat(filepath.Join(r.dir, rangesDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	return errors.Join(r.each(func(string, *os.File) error { return nil }), unlock())
}

// containerMaps gives the mappings of the store's containers that have one.
func (r *Room) containerMaps() ([]userns.Mapping, error) {
	containers, err := r.lib.Containers()
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
