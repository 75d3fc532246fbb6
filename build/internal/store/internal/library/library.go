package library

import (
	"sync"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
)

// Overlay is the name of the driver that stacks directories, and that of its own directory in the store's.
const Overlay = "overlay"

// Library is containers/storage, which panics where its lock files can't be opened, and keeps its locks then: the panic
// becomes the error of the call, of those that wait for these locks, and of all later ones. So a build that unmounts
// and unlocks at its end doesn't wait for ever.
type Library struct {
	*layers
	*records
	*containers
	// Layout is how layers are kept; Examine writes it before anybody else has the library.
	Layout Layout

	store storage.Store
	fuse  *fuse // lets no more calls through after a panic
}

// A Handle stands for a library where nothing may be asked of it: packages above the store have one, and can do nothing
// with it.
type Handle struct{ library *Library }

// Handle gives the library's.
func (l *Library) Handle() Handle { return Handle{l} }

// Of gives the library that a handle stands for.
func Of(h Handle) *Library { return h.library }

// opening guards the library's list of open stores, one for the whole process: storage.Store.Free takes a store off it
// without a lock.
var opening sync.Mutex //nolint:gochecknoglobals // what it guards is global

// Open opens the library's store.
func Open(o storage.StoreOptions) (*Library, error) {
	var st storage.Store
	err := call(func() (err error) {
		opening.Lock()
		defer opening.Unlock()
		st, err = storage.GetStore(o)
		return err
	})
	if err != nil {
		return nil, err
	}
	f := newFuse()
	return &Library{
		layers: &layers{store: st, fuse: f}, records: &records{store: st, fuse: f},
		containers: &containers{store: st, fuse: f}, store: st, fuse: f,
	}, nil
}

// Exists tells whether a layer, an image or a container has this ID or name; false, too, if nothing can be asked.
func (l *Library) Exists(id string) bool {
	there, err := ask(l.fuse, func() (bool, error) { return l.store.Exists(id), nil })
	return there && err == nil
}

// Free takes the store off the list of open ones, once for each Open.
func (l *Library) Free() {
	_ = l.fuse.do(func() error { // a library that is broken has nothing to give back
		opening.Lock()
		defer opening.Unlock()
		l.store.Free()
		return nil
	})
}

// GarbageCollect removes the directories of layers and containers that have no record.
func (l *Library) GarbageCollect() error { return l.fuse.do(l.store.GarbageCollect) }

// GraphDriver is the driver that keeps the layers.
func (l *Library) GraphDriver() (drivers.Driver, error) { return ask(l.fuse, l.store.GraphDriver) }

// GraphDriverName is the driver's name, such as Overlay.
func (l *Library) GraphDriverName() string { return l.store.GraphDriverName() }

// GraphOptions are the driver's options, as the open store has them.
func (l *Library) GraphOptions() []string { return l.store.GraphOptions() }

// GraphRoot is the directory of the store.
func (l *Library) GraphRoot() string { return l.store.GraphRoot() }

// RunRoot is the directory of what is gone when the machine starts again.
func (l *Library) RunRoot() string { return l.store.RunRoot() }
