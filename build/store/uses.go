package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

// Whatever cooper may give back has a note in DIR/uses/KIND/NAME: its modification time is the last use, and its text
// the size. One lock keeps uses (shared) and decisions to remove (exclusive) apart. What was used since the oldest
// running build began stays.
const (
	usesDir  = "uses"
	usesLock = "uses.lock"
	// buildsDir has a file for each build, locked while it runs, whose modification time is when it began.
	buildsDir = "builds"
)

// useKind is a kind of thing that notes are kept of.
type useKind string

const (
	layerUses useKind = "layers"
	imageUses useKind = "images"
	copyUses  useKind = "shifted"
	mountUses useKind = "mounts"
	// goneMarks has an empty file for each layer that is being removed: to builds it isn't there any more.
	goneMarks useKind = "gone"
)

// note is the text of a note. The zero value is that of a thing nothing is known of.
type note struct {
	// Size counts bytes on disk. Measured says that it is known, and Changing that it was before the last use.
	Size     int64 `json:"size,omitempty"`
	Measured bool  `json:"measured,omitempty"`
	Changing bool  `json:"changing,omitempty"`
	// Linked says that the size goes with that of others, which have files in common.
	Linked bool `json:"linked,omitempty"`
	// Made says that this program made the layer.
	Made bool `json:"made,omitempty"`
	// Label is for people.
	Label string `json:"label,omitempty"`
}

func (s *Store) notePath(kind useKind, name string) string {
	return filepath.Join(s.dir, usesDir, string(kind), name)
}

// lockUses takes the lock: unix.LOCK_SH to use things, unix.LOCK_EX to decide what is removed. It is held for moments.
func (s *Store) lockUses(how int) (unlock func() error, err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, usesLock), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock uses: %w", err)
	}
	if err := flock(f, how); err != nil {
		return nil, errors.Join(fmt.Errorf("lock uses: %w", err), f.Close())
	}
	return f.Close, nil
}

// whileUsing calls f while nothing is decided upon.
func (s *Store) whileUsing(f func() error) error {
	unlock, err := s.lockUses(unix.LOCK_SH)
	if err != nil {
		return err
	}
	return errors.Join(f(), unlock())
}

// whileDeciding calls f while nothing is used anew.
func (s *Store) whileDeciding(f func() error) error {
	unlock, err := s.lockUses(unix.LOCK_EX)
	if err != nil {
		return err
	}
	return errors.Join(f(), unlock())
}

// noteUse writes down a use, and what change makes of the note; nil: nothing. The caller is whileUsing.
func (s *Store) noteUse(kind useKind, name string, change func(*note)) error {
	now := time.Now()
	if now.Before(s.began) { // the clock was set back
		now = s.began
	}
	path := s.notePath(kind, name)
	info, err := os.Lstat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note use: %w", err)
	}
	old, there := note{}, err == nil
	if there && info.ModTime().After(now) {
		now = info.ModTime()
	}
	if there && change != nil {
		old = readNote(path)
	}
	n := old
	if change != nil {
		change(&n)
	}
	if there && n == old {
		err = os.Chtimes(path, now, now)
	} else {
		err = writeNote(path, n, now)
	}
	if err != nil {
		return fmt.Errorf("note use: %w", err)
	}
	return nil
}

// readNote gives the zero note if there is none, or none that can be read.
func readNote(path string) (n note) {
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &n) != nil {
		return note{}
	}
	return n
}

// used is a note with its time.
type used struct {
	note
	last time.Time
}

// readNotes reads all notes of a kind, with as few system calls as will do: it is what each build with a limit on disk
// space does.
func (s *Store) readNotes(kind useKind) (map[string]used, error) {
	dir, err := os.Open(filepath.Join(s.dir, usesDir, string(kind)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read notes: %w", err)
	}
	notes := make(map[string]used, len(names))
	buf := make([]byte, 64<<10)
	for _, name := range names {
		if u, ok := readNoteAt(int(dir.Fd()), name, buf); ok {
			notes[name] = u
		}
	}
	return notes, nil
}

func readNoteAt(dir int, name string, buf []byte) (u used, ok bool) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return u, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return u, false
	}
	if st.Mtim.Sec > 0 {
		u.last = time.Unix(st.Mtim.Unix())
	}
	if n, err := unix.Read(fd, buf); err != nil || json.Unmarshal(buf[:n], &u.note) != nil {
		u.note = note{}
	}
	return u, true
}

// lastUse is zero if there is no note.
func (s *Store) lastUse(kind useKind, name string) time.Time {
	info, err := os.Lstat(s.notePath(kind, name))
	if err != nil || info.ModTime().Unix() <= 0 {
		return time.Time{}
	}
	return info.ModTime()
}

// writeNote replaces a note as a whole.
func writeNote(path string, n note, used time.Time) error { return writeJSON(path, n, used) }

// writeJSON replaces a file as a whole, or makes it with its directory.
func writeJSON(path string, v any, modified time.Time) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+name+"-")
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(dir, 0o700); err == nil {
			f, err = os.CreateTemp(dir, "."+name+"-")
		}
	}
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Chtimes(f.Name(), modified, modified)
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// saveNote changes a note of something that isn't used by that. The caller is whileDeciding.
func (s *Store) saveNote(kind useKind, name string, change func(*note)) error {
	path := s.notePath(kind, name)
	used := time.Unix(0, 0)
	if info, err := os.Lstat(path); err == nil {
		used = info.ModTime()
	}
	n := readNote(path)
	old := n
	if change(&n); n == old {
		return nil
	}
	if err := writeNote(path, n, used); err != nil {
		return fmt.Errorf("note size: %w", err)
	}
	return nil
}

// BeginBuild says that a build begins: nothing that is used from now on is removed until end is called or the process
// ends. It is called once, before the store is used for the build.
func (s *Store) BeginBuild() (end func() error, err error) {
	var f *os.File
	err = s.whileUsing(func() error {
		dir := filepath.Join(s.dir, buildsDir)
		err := os.MkdirAll(dir, 0o700)
		if err == nil {
			f, err = os.CreateTemp(dir, "")
		}
		if err != nil {
			return err
		}
		s.began = time.Now()
		return errors.Join(flock(f, unix.LOCK_EX|unix.LOCK_NB), os.Chtimes(f.Name(), s.began, s.began))
	})
	if err != nil {
		return nil, fmt.Errorf("note that a build runs: %w", err)
	}
	s.keepReserve()
	return func() error { return errors.Join(os.Remove(f.Name()), f.Close()) }, nil
}

// oldestBuild is when the oldest of the running builds began, or a time to come if none runs. The caller is
// whileDeciding, for a build that begins looks for a moment like one that has ended.
func (s *Store) oldestBuild() (time.Time, error) {
	oldest := time.Now().Add(time.Hour)
	err := eachLive(filepath.Join(s.dir, buildsDir), func(_ string, f *os.File) error {
		info, err := f.Stat()
		if err == nil && info.ModTime().Before(oldest) {
			oldest = info.ModTime()
		}
		return err
	})
	if err != nil {
		return oldest, fmt.Errorf("look for running builds: %w", err)
	}
	return oldest, nil
}

// removeDeadBuilds removes the files of builds that were killed, unless something is being used or decided upon just
// now.
func (s *Store) removeDeadBuilds() error {
	unlock, err := s.lockUses(unix.LOCK_EX | unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	before, err := s.buildFiles()
	if err == nil && before > 0 {
		_, err = s.oldestBuild()
	}
	if after, readErr := s.buildFiles(); err == nil && after < before {
		err = errors.Join(readErr, s.removeHalfImages())
	}
	return errors.Join(err, unlock())
}

// buildFiles counts the files of builds.
func (s *Store) buildFiles() (int, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, buildsDir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return len(entries), err
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

// OldestBuild is when the oldest of the running builds began: what was used since then is in use. It is a time to come
// if none runs.
func (s *Store) OldestBuild() (oldest time.Time, err error) {
	err = s.whileDeciding(func() (err error) {
		oldest, err = s.oldestBuild()
		return err
	})
	return oldest, err
}

// UseLayer gives a layer that the store has on top of this parent, and keeps it for the build; false if there is none.
func (s *Store) UseLayer(id, parent string) (l Layer, ok bool) {
	err := s.whileUsing(func() (err error) {
		switch l, err = s.Layer(id); {
		case err != nil:
			return err
		case l.Parent != parent || s.goes(id):
			return ErrNoLayer
		}
		return s.noteUse(layerUses, id, nil)
	})
	return l, err == nil
}

// goes tells whether a layer is being removed.
func (s *Store) goes(id string) bool {
	_, err := os.Lstat(s.notePath(goneMarks, id))
	return err == nil
}

// useChain is Chain, and keeps the layers for the build.
func (s *Store) useChain(top string) (chain []Layer, err error) {
	err = s.whileUsing(func() error {
		chain, err = s.Chain(top)
		if err != nil {
			return err
		}
		for _, l := range chain {
			if s.goes(l.ID) {
				return fmt.Errorf("layer %s: %w", l.ID, ErrNoLayer)
			}
			if err := s.noteUse(layerUses, l.ID, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return chain, err
}

// noteMade notes a layer that this program makes. What a size of 0 leaves open is measured when somebody asks.
func (s *Store) noteMade(id string, size int64, linked bool) error {
	return s.whileUsing(func() error {
		return s.noteUse(layerUses, id, func(n *note) {
			n.Made, n.Size, n.Measured, n.Linked = true, size, size > 0, linked
		})
	})
}

// OpenMount makes the directory of a cache mount, unless it is there, and opens the file beside it that its users lock.
// The label says what it is for.
func (s *Store) OpenMount(key, number, label string) (dir string, lock *os.File, err error) {
	dir = filepath.Join(s.dir, mountsDir, key, number)
	err = s.whileUsing(func() error {
		err := s.noteUse(mountUses, key+"."+number, func(n *note) { n.Label, n.Changing = label, true })
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err == nil {
			lock, err = os.OpenFile(dir+lockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
		}
		return err
	})
	return dir, lock, err
}

// mountsDir has KEY/NUMBER for each cache mount, with NUMBER.lock and NUMBER.made beside it.
const (
	mountsDir  = "mounts"
	madeSuffix = ".made"
)
