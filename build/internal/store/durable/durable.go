package durable

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

	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/internal/flock"
	"github.com/cooperbuild/cooper/internal/fsys"
)

const (
	// ownDir is the name of cooper's own directory in the store's.
	ownDir     = "cooper"
	syncedFile = "synced"      // the note, a syncedNote as JSON
	syncedLock = "synced.lock" // the file that Lock locks
)

// syncedNote is the text of DIR/synced. The file's modification time is when the Sync began that wrote it.
type syncedNote struct {
	// Uptime names, as uptimeOf does, the mount of the file system in which the note was written.
	Uptime string `json:"uptime"`
	// Layers has the marks of the layers that are on the disk, Damaged those of layers that lost files and can't be
	// removed: 8 bytes each, one after the other.
	Layers  []byte `json:"layers"`
	Damaged []byte `json:"damaged,omitempty"`
}

// mark stands for a layer in the note. A layer that is made anew with the same ID has another mark.
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

// Record is what a process knows of what is on the disk. It is safe for concurrent use.
type Record struct {
	library *library.Library
	// own is cooper's own directory in the store's.
	own string
	// dir is the store's directory. It is opened before anything is written, so that a sync by it reports all write
	// errors since.
	dir    *os.File
	uptime string // what uptimeOf gives for dir

	mu sync.Mutex
	// mu guards synced and damaged: the layers of the note as this process has last read or written it, and those that
	// Condemn has added.
	synced, damaged map[mark]bool
}

// Open opens the record of a store. The caller closes it.
func Open(l *library.Library) (*Record, error) {
	dir, err := os.Open(l.GraphRoot())
	if err != nil {
		return nil, err
	}
	return &Record{library: l, own: filepath.Join(l.GraphRoot(), ownDir), dir: dir, uptime: uptimeOf(dir)}, nil
}

// Close closes the store's directory.
func (r *Record) Close() error { return r.dir.Close() }

// Read reads the note. same says that the file system has been mounted all the time since it was written; at is when
// the Sync began that wrote it. The error is fs.ErrNotExist if there never was a note. A damaged note counts as one
// without layers.
func (r *Record) Read() (same bool, at time.Time, err error) {
	path := filepath.Join(r.own, syncedFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return false, at, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return false, at, err
	}
	var n syncedNote
	if json.Unmarshal(text, &n) != nil {
		n = syncedNote{}
	}
	r.set(n)
	return n.Uptime == r.uptime, info.ModTime(), nil
}

func (r *Record) set(n syncedNote) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.synced, r.damaged = marksOf(n.Layers), marksOf(n.Damaged)
}

// Damaged tells whether a layer lost files in a crash, and is in use by a container.
func (r *Record) Damaged(l *storage.Layer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.damaged) > 0 && r.damaged[markOf(l)]
}

// Synced tells whether the disk has a layer, by what is known.
func (r *Record) Synced(l *storage.Layer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.synced[markOf(l)]
}

// Condemn has layers count as damaged, until they are gone. The next Sync writes it down.
func (r *Record) Condemn(layers ...*storage.Layer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range layers {
		if r.damaged == nil {
			r.damaged = map[mark]bool{}
		}
		r.damaged[markOf(l)] = true
	}
}

// Make returns when the disk has the layer and all those below it. It is called before the first record names them.
func (r *Record) Make(ctx context.Context, top string) error {
	if r.onDisk(top) {
		return nil
	}
	unlock, err := r.Lock(ctx)
	if err != nil {
		return err
	}
	// Another process may have synced the layers while this one waited for the lock.
	if _, _, err = r.Read(); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && !r.onDisk(top) {
		err = r.Sync()
	}
	if err = errors.Join(err, unlock()); err != nil {
		return fmt.Errorf("write layers to the disk: %w", err)
	}
	return nil
}

// onDisk tells whether nothing of a layer and those below it can be lost, as far as is known.
func (r *Record) onDisk(top string) bool {
	if r.library.Wrote.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := top; id != ""; {
		l, err := r.library.Layer(id)
		if err != nil || !r.synced[markOf(l)] {
			return false
		}
		id = l.Parent
	}
	return true
}

// Lock keeps others from writing the note.
func (r *Record) Lock(ctx context.Context) (unlock func() error, err error) {
	f, err := flock.File(ctx, filepath.Join(r.own, syncedLock), flock.Exclusive)
	if err != nil {
		return nil, err
	}
	return f.Close, nil
}

// Sync writes everything to the disk, and notes which layers that were. The caller has Lock's lock.
func (r *Record) Sync() error {
	began := time.Now()
	r.library.Wrote.Store(false)
	layers, err := r.library.Layers()
	if err == nil {
		err = fsys.SyncFS(r.dir)
	}
	if err != nil {
		r.library.Wrote.Store(true)
		return err
	}

	n := syncedNote{Uptime: r.uptime}
	for i := range layers {
		m := markOf(&layers[i])
		switch l := &layers[i]; {
		case r.Damaged(l):
			n.Damaged = append(n.Damaged, m[:]...)
		case complete(l):
			n.Layers = append(n.Layers, m[:]...)
		}
	}

	if err := r.write(n, began); err != nil {
		return err
	}
	r.set(n)
	return nil
}

// complete tells whether nobody writes to a layer any more.
func complete(l *storage.Layer) bool {
	return l.Flags["incomplete"] != true && (l.UncompressedDigest != "" || l.TOCDigest != "")
}

// write replaces the note by a file that is complete, and on the disk, before it gets the name.
func (r *Record) write(n syncedNote, began time.Time) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return fsys.Replace(filepath.Join(r.own, syncedFile), text, fsys.ReplaceOptions{Sync: true, Modified: began})
}

// Settle returns when the disk also has the records of images that were written. A build that has succeeded waits for
// it at its end.
func (r *Record) Settle() error {
	if !r.library.Recorded.Swap(false) {
		return nil
	}
	dir, err := os.Open(filepath.Join(r.library.GraphRoot(), r.library.GraphDriverName()+"-images"))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("write images to the disk: %w", err)
	}
	return nil
}
