package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/storage/pkg/idtools"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/userns"
)

const (
	// idRangesDir has a file for each build with ranges of its own: its maps as JSON, locked (flock) while the build
	// lives.
	idRangesDir  = "userns"
	idRangesLock = "userns.lock"
)

// IDRanges are the ranges of IDs that one build has to itself. They are given back by Close, and by the death of the
// process.
type IDRanges struct {
	store *Store
	file  *os.File
	maps  []userns.Mapping
}

// NewIDRanges makes a set of ranges that is empty.
func (s *Store) NewIDRanges() (r *IDRanges, err error) {
	if err := os.MkdirAll(filepath.Join(s.dir, idRangesDir), 0o700); err != nil {
		return nil, fmt.Errorf("record ranges of IDs: %w", err)
	}
	unlock, err := s.lockIDRanges()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	f, err := os.CreateTemp(filepath.Join(s.dir, idRangesDir), "")
	if err != nil {
		return nil, fmt.Errorf("record ranges of IDs: %w", err)
	}
	r = &IDRanges{store: s, file: f}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock ranges of IDs: %w", err), r.Close())
	}
	return r, nil
}

// Add has choose make a map from those, to intermediate IDs, that other builds and the containers of the store use, and
// keeps it. No other build chooses at the same time. What Add gave before is not among what is used: the steps of a
// build may share.
func (r *IDRanges) Add(choose func(used []userns.Mapping) (userns.Mapping, error)) (m userns.Mapping, err error) {
	unlock, err := r.store.lockIDRanges()
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
		_, err = r.file.WriteAt(text, 0) // never shorter than what was there
	}
	if err != nil {
		return m, fmt.Errorf("record ranges of IDs: %w", err)
	}
	r.maps = maps
	return m, nil
}

// Close gives the ranges back.
func (r *IDRanges) Close() error { return errors.Join(os.Remove(r.file.Name()), r.file.Close()) }

// lockIDRanges is for whoever makes, reads or removes the files.
func (s *Store) lockIDRanges() (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, idRangesLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock ranges of IDs: %w", err)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock ranges of IDs: %w", err), f.Close())
	}
	return f.Close, nil
}

// flock is for locks that are held for moments.
func flock(f *os.File, how int) error {
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		err = unix.Flock(int(f.Fd()), how)
	}
	return err
}

// usedIDRanges gives the maps of live builds, but for the file own, and of containers. The caller has the lock.
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
		if err != nil || len(text) == 0 { // nothing chosen yet
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

// eachIDRanges calls live for the files of live builds and removes those of dead ones.
func (s *Store) eachIDRanges(live func(name string, f *os.File) error) error {
	if err := eachLive(filepath.Join(s.dir, idRangesDir), live); err != nil {
		return fmt.Errorf("read ranges of IDs: %w", err)
	}
	return nil
}

// eachLive calls live for the files of a directory that somebody has locked and removes the others.
func eachLive(dir string, live func(name string, f *os.File) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var errs []error
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if errors.Is(err, fs.ErrNotExist) { // given back
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		switch err := flock(f, unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			if err = os.Remove(f.Name()); !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		case errors.Is(err, unix.EWOULDBLOCK):
			errs = append(errs, live(e.Name(), f))
		default:
			errs = append(errs, err)
		}
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// removeIDRanges removes the files of dead builds.
func (s *Store) removeIDRanges() error {
	if _, err := os.Lstat(filepath.Join(s.dir, idRangesDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := s.lockIDRanges()
	if err != nil {
		return err
	}
	return errors.Join(s.eachIDRanges(func(string, *os.File) error { return nil }), unlock())
}

// containerMaps are the maps of the store's containers that have some.
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
