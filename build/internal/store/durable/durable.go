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

// Record is what a process knows of what is on the disk. It is safe for concurrent use.
type Record struct {
	library *library.Library
	// own is cooper's own directory in the store's.
	own string
	// dir is the store's directory, open since before anything was written: it tells of all errors since.
	dir    *os.File
	uptime string

	mu sync.Mutex
	// synced and damaged are the layers of the note, as it was last read or written.
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

// Close gives the record back.
func (r *Record) Close() error { return r.dir.Close() }

// Read reads the note. Same says that the file system has been mounted all the time since it was written, and at when
// what it tells of began to be written to the disk. The error fs.ErrNotExist says that there never was one. One that
// can't be read tells of nothing.
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
	// Another process may have done it meanwhile.
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

// write replaces the note, whole before it has its name.
func (r *Record) write(n syncedNote, began time.Time) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return fsys.Replace(filepath.Join(r.own, syncedFile), text, fsys.ReplaceOptions{Sync: true, Modified: began})
}

// Settle returns when the disk has the records of images too that were written. It is what the end of a build that
// succeeded waits for.
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
