package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// What a build makes is on the disk before a record names it: layers first, then DIR/synced, which lists the layers
// that can't be lost any more, then the records of images, and in the end the directory of these. A layer that isn't in
// the list when the file system has been mounted anew is measured before it is used; see mend.
const (
	syncedFile = "synced"
	syncedLock = "synced.lock"
)

// syncedNote is the text of DIR/synced, whose modification time is when what it tells of began to be written to the
// disk.
type syncedNote struct {
	// Uptime is when the note was written, as uptimeOf names it.
	Uptime string `json:"uptime"`
	// Layers are those that are on the disk, and Damaged those that lost files and can't be removed: marks of 8 bytes
	// each.
	Layers  []byte `json:"layers"`
	Damaged []byte `json:"damaged,omitempty"`
}

// mark is a layer's place in the note. One that is made anew with the same ID has another.
type mark [8]byte

func markOf(l *storage.Layer) mark {
	hash := fnv.New64a()
	fmt.Fprint(hash, l.ID, l.Created.UnixNano())
	return mark(binary.BigEndian.AppendUint64(nil, hash.Sum64()))
}

func marksOf(text []byte) map[mark]bool {
	marks := make(map[mark]bool, len(text)/len(mark{}))
	for m := range slices.Chunk(text, len(mark{})) {
		if len(m) == len(mark{}) {
			marks[mark(m)] = true
		}
	}
	return marks
}

// durability is what a process knows of what is on the disk.
type durability struct {
	// dir is the store's directory, open since before anything was written: it tells of all errors since.
	dir    *os.File
	uptime string

	mu              sync.Mutex
	synced, damaged map[mark]bool
}

func openDurability(root string) (durability, error) {
	dir, err := os.Open(root)
	if err != nil {
		return durability{}, err
	}
	return durability{dir: dir, uptime: uptimeOf(dir)}, nil
}

// readSynced reads the note; fs.ErrNotExist says that there never was one. One that can't be read tells of nothing.
func (s *Store) readSynced() (n syncedNote, at time.Time, err error) {
	path := filepath.Join(s.dir, syncedFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return n, at, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return n, at, err
	}
	if json.Unmarshal(text, &n) != nil {
		n = syncedNote{}
	}
	s.durable.mu.Lock()
	defer s.durable.mu.Unlock()
	s.durable.synced, s.durable.damaged = marksOf(n.Layers), marksOf(n.Damaged)
	return n, info.ModTime(), nil
}

// isDamaged tells whether a layer lost files in a crash, and is in use by a container.
func (s *Store) isDamaged(l *storage.Layer) bool {
	s.durable.mu.Lock()
	defer s.durable.mu.Unlock()
	return len(s.durable.damaged) > 0 && s.durable.damaged[markOf(l)]
}

// makeDurable returns when the disk has the layer and all those below it. It is called before the first record names
// them.
func (s *Store) makeDurable(ctx context.Context, top string) error {
	if s.onDisk(top) {
		return nil
	}
	unlock, err := s.lockSynced(ctx)
	if err != nil {
		return err
	}
	// Another process may have done it meanwhile.
	if _, _, err = s.readSynced(); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && !s.onDisk(top) {
		err = s.sync()
	}
	if err = errors.Join(err, unlock()); err != nil {
		return fmt.Errorf("write layers to the disk: %w", err)
	}
	return nil
}

// onDisk tells whether nothing of a layer and those below it can be lost, as far as is known.
func (s *Store) onDisk(top string) bool {
	if s.store.Wrote.Load() {
		return false
	}
	s.durable.mu.Lock()
	defer s.durable.mu.Unlock()
	for id := top; id != ""; {
		l, err := s.store.Layer(id)
		if err != nil || !s.durable.synced[markOf(l)] {
			return false
		}
		id = l.Parent
	}
	return true
}

func (s *Store) lockSynced(ctx context.Context) (unlock func() error, err error) {
	f, err := flock.File(ctx, filepath.Join(s.dir, syncedLock), flock.Exclusive)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}

// sync writes everything to the disk, and notes which layers that were. The caller has lockSynced's lock.
func (s *Store) sync() error {
	began := time.Now()
	s.store.Wrote.Store(false)
	layers, err := s.store.Layers()
	if err == nil {
		err = fsys.SyncFS(s.durable.dir)
	}
	if err != nil {
		s.store.Wrote.Store(true)
		return err
	}
	n := syncedNote{Uptime: s.durable.uptime}
	for i := range layers {
		m := markOf(&layers[i])
		switch l := &layers[i]; {
		case s.isDamaged(l):
			n.Damaged = append(n.Damaged, m[:]...)
		case complete(l):
			n.Layers = append(n.Layers, m[:]...)
		}
	}
	if err := s.writeSynced(n, began); err != nil {
		return err
	}
	s.durable.mu.Lock()
	defer s.durable.mu.Unlock()
	s.durable.synced, s.durable.damaged = marksOf(n.Layers), marksOf(n.Damaged)
	return nil
}

// complete tells whether nobody writes to a layer any more.
func complete(l *storage.Layer) bool {
	return l.Flags["incomplete"] != true && (l.UncompressedDigest != "" || l.TOCDigest != "")
}

// writeSynced replaces the note, whole before it has its name.
func (s *Store) writeSynced(n syncedNote, began time.Time) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return fsys.Replace(filepath.Join(s.dir, syncedFile), text, fsys.ReplaceOptions{Sync: true, Modified: began})
}

// Settle returns when the disk has the records of images too that were written. It is what the end of a build that
// succeeded waits for.
func (s *Store) Settle() error {
	if !s.store.Recorded.Swap(false) {
		return nil
	}
	dir, err := os.Open(filepath.Join(s.store.GraphRoot(), s.Driver()+"-images"))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("write images to the disk: %w", err)
	}
	return nil
}
