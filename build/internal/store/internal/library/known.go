package library

import (
	"path/filepath"
	"sync"
	"time"

	"go.podman.io/storage"
	"golang.org/x/sys/unix"
)

const (
	// lookUpCost is how many bytes of the library's file are read anew in about the time of one look-up, for which the
	// library takes four locks.
	lookUpCost = 8 << 10
	// settled is the age at which a file can't change any more without a change of its time, which the kernel counts in
	// steps of some milliseconds.
	settled = 100 * time.Millisecond
)

// known has the library's layers at hand as long as the files in which it keeps them are the same. It is safe for
// concurrent use.
type known struct {
	mu sync.Mutex
	// files are those that layers was read from, and lookUps how many layers were looked up since they are such.
	files   [2]fileState
	lookUps int64
	// layers are all that can be written, by ID; nil: not read.
	layers map[string]*storage.Layer
}

// fileState tells files that have one path after the other apart; the zero value: there is none.
type fileState struct {
	inode      uint64
	size       int64
	time, made unix.Timespec
}

func stateOf(path string) fileState {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return fileState{}
	}
	return fileState{inode: st.Ino, size: st.Size, time: st.Mtim, made: st.Ctim}
}

// Find finds a layer by its ID as Layer does, but doesn't say where it is mounted. Many layers one after the other are
// found in no more time than it takes to list them all.
func (l *layers) Find(id string) (*storage.Layer, error) {
	if found, ok := l.known.find(l, id); ok {
		return found, nil
	}
	return l.Layer(id)
}

// find gives the layer if it is at hand; else the library has to be asked.
func (k *known) find(l *layers, id string) (*storage.Layer, bool) {
	if l.store.ImageStore() != "" {
		return nil, false // layers are in the files of two places
	}
	dir := filepath.Join(l.store.GraphRoot(), l.store.GraphDriverName()+"-layers")
	now := [2]fileState{stateOf(filepath.Join(dir, "layers.json")), stateOf(filepath.Join(dir, "volatile-layers.json"))}
	k.mu.Lock()
	defer k.mu.Unlock()
	if now != k.files {
		k.files, k.lookUps, k.layers = now, 0, nil
	}
	k.lookUps++
	if k.layers == nil && k.worthwhile() {
		k.read(l)
	}
	found := k.layers[id]
	return found, found != nil
}

// worthwhile tells whether as many layers were looked up as take the time of reading them all, from files that show
// each later change.
func (k *known) worthwhile() bool {
	size := k.files[0].size + k.files[1].size
	if size == 0 || k.lookUps*lookUpCost < size {
		return false
	}
	for _, f := range k.files {
		if time.Since(time.Unix(f.made.Unix())) < settled {
			return false
		}
	}
	return true
}

// read asks the library for all layers. What it gives may be newer than the files were, which the next look at them
// shows.
func (k *known) read(l *layers) {
	all, err := l.Layers()
	if err != nil {
		return // the library says why where it is asked for one
	}
	k.layers = make(map[string]*storage.Layer, len(all))
	for i := range all {
		if !all[i].ReadOnly { // those of other stores are in other files
			k.layers[all[i].ID] = &all[i]
		}
	}
}
