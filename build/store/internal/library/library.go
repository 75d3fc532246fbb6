package library

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Overlay is the name of the driver that stacks directories, and that of its own directory in the store's.
const Overlay = "overlay"

// Library is containers/storage, which panics where its lock files can't be opened, and keeps its locks then: the panic
// becomes the error of the call, of those that wait for these locks, and of all later ones. What a build gives back at
// its end doesn't wait for ever.
type Library struct {
	storage.Store
	// Layout is how layers are kept; see Examine.
	Layout Layout
	// Wrote is told that a layer was made, Recorded that an image's record was changed.
	Wrote, Recorded atomic.Bool
	// one has functions run where the store is one mount, if that isn't so everywhere; nil: it is.
	one func() (*oneMount, error)

	once sync.Once
	// broken is closed once err says why nothing can be asked any more.
	broken chan struct{}
	err    error
}

// opening guards the library's list of open stores, one for the whole process: storage.Store.Free takes a store off it
// without a lock.
var opening sync.Mutex //nolint:gochecknoglobals // what it guards is global

// Open opens the library's store.
func Open(o storage.StoreOptions) (*Library, error) {
	l := &Library{broken: make(chan struct{})}
	return l, call(func() (err error) {
		opening.Lock()
		defer opening.Unlock()
		l.Store, err = storage.GetStore(o)
		return err
	})
}

// BrokenError says that the library that keeps the store has given up.
type BrokenError struct{ cause error }

func (e *BrokenError) Error() string { return "the store can't be used: " + e.cause.Error() }

func (e *BrokenError) Unwrap() error { return e.cause }

// call calls a function of the library. Its panic is a *BrokenError: mostly the library tells of an error in this way.
func call(f func() error) error {
	err := guard.Call(f)
	if p := new(guard.Panic); errors.As(err, &p) {
		cause := error(p)
		if given := p.Unwrap(); given != nil {
			cause = given
		}
		return &BrokenError{cause}
	}
	return err
}

// ask calls f, unless the library is broken. It returns at once when the library breaks meanwhile: f may wait for a
// lock then that nobody gives back, with the goroutine it is in, until the process ends.
func ask[T any](l *Library, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	select {
	case <-l.broken:
		var none T
		return none, l.err
	default:
	}
	answered := make(chan answer, 1)
	go func() {
		var a answer
		a.err = call(func() (err error) {
			a.value, err = f()
			return err
		})
		if broken := new(BrokenError); errors.As(a.err, &broken) {
			l.once.Do(func() {
				l.err = broken
				close(l.broken)
			})
		}
		answered <- a
	}()
	select {
	case a := <-answered:
		return a.value, a.err
	case <-l.broken:
		var none T
		return none, l.err
	}
}

func (l *Library) do(f func() error) error {
	_, err := ask(l, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// makes notes that a layer or an image's record was written, unless it is there already: what fails otherwise may have
// been written in part.
func makes[T any](l *Library, what *atomic.Bool, f func() (T, error)) (T, error) {
	made, err := ask(l, f)
	if !errors.Is(err, storage.ErrDuplicateID) && !errors.Is(err, storage.ErrDuplicateName) {
		what.Store(true)
	}
	return made, err
}

// withoutUmask has the driver make a layer: vfs makes the root directory with mkdir's mode alone.
func withoutUmask(f func() error) error {
	return fsys.WithUmask(0, func() error { return call(f) })
}

// What follows is containers/storage's, each as its own documentation says.

// AddNames is that of storage.Store.
func (l *Library) AddNames(id string, names []string) error {
	defer l.Recorded.Store(true)
	return l.do(func() error { return l.Store.AddNames(id, names) })
}

// ApplyStagedLayer is that of storage.Store.
func (l *Library) ApplyStagedLayer(o storage.ApplyStagedLayerOptions) (*storage.Layer, error) {
	return makes(l, &l.Wrote, func() (layer *storage.Layer, err error) {
		err = l.inOneMount(func() (err error) {
			layer, err = l.Store.ApplyStagedLayer(o)
			return err
		})
		return layer, err
	})
}

// Containers is that of storage.Store.
func (l *Library) Containers() ([]storage.Container, error) { return ask(l, l.Store.Containers) }

// CreateImage is that of storage.Store.
func (l *Library) CreateImage(id string, names []string, top, metadata string, o *storage.ImageOptions) (*storage.Image,
	error) {
	return makes(l, &l.Recorded, func() (*storage.Image, error) {
		return l.Store.CreateImage(id, names, top, metadata,
			o)
	})
}

// CreateLayer is that of storage.Store.
//
//nolint:revive // the library has its parameters so
func (l *Library) CreateLayer(id, parent string, names []string, label string, writable bool,
	o *storage.LayerOptions) (*storage.Layer, error) {
	return makes(l, &l.Wrote, func() (made *storage.Layer, err error) {
		err = withoutUmask(func() (err error) {
			made, err = l.Store.CreateLayer(id, parent, names, label, writable, o)
			return err
		})
		return made, err
	})
}

// DeleteImage is that of storage.Store.
func (l *Library) DeleteImage(id string, commit bool) ([]string, error) {
	return makes(l, &l.Recorded, func() ([]string, error) { return l.Store.DeleteImage(id, commit) })
}

// DeleteLayer is that of storage.Store.
func (l *Library) DeleteLayer(id string) error {
	return l.do(func() error { return l.Store.DeleteLayer(id) })
}

// Diff is that of storage.Store.
func (l *Library) Diff(from, to string, o *storage.DiffOptions) (io.ReadCloser, error) {
	return ask(l, func() (io.ReadCloser, error) { return l.Store.Diff(from, to, o) })
}

// Exists is that of storage.Store.
func (l *Library) Exists(id string) bool {
	there, err := ask(l, func() (bool, error) { return l.Store.Exists(id), nil })
	return there && err == nil
}

// Free is that of storage.Store.
func (l *Library) Free() {
	_ = l.do(func() error { // a library that is broken has nothing to give back
		opening.Lock()
		defer opening.Unlock()
		l.Store.Free()
		return nil
	})
}

// GarbageCollect is that of storage.Store.
func (l *Library) GarbageCollect() error { return l.do(l.Store.GarbageCollect) }

// GraphDriver is that of storage.Store.
func (l *Library) GraphDriver() (drivers.Driver, error) { return ask(l, l.Store.GraphDriver) }

// Image is that of storage.Store.
func (l *Library) Image(id string) (*storage.Image, error) {
	return ask(l, func() (*storage.Image, error) { return l.Store.Image(id) })
}

// ImageBigData is that of storage.Store.
func (l *Library) ImageBigData(id, key string) ([]byte, error) {
	return ask(l, func() ([]byte, error) { return l.Store.ImageBigData(id, key) })
}

// Images is that of storage.Store.
func (l *Library) Images() ([]storage.Image, error) { return ask(l, l.Store.Images) }

// ImagesByDigest is that of storage.Store.
func (l *Library) ImagesByDigest(d digest.Digest) ([]*storage.Image, error) {
	return ask(l, func() ([]*storage.Image, error) { return l.Store.ImagesByDigest(d) })
}

// Layer is that of storage.Store.
func (l *Library) Layer(id string) (*storage.Layer, error) {
	return ask(l, func() (*storage.Layer, error) { return l.Store.Layer(id) })
}

// Layers is that of storage.Store.
func (l *Library) Layers() ([]storage.Layer, error) { return ask(l, l.Store.Layers) }

// LayersByUncompressedDigest is that of storage.Store.
func (l *Library) LayersByUncompressedDigest(d digest.Digest) ([]storage.Layer, error) {
	return ask(l, func() ([]storage.Layer, error) { return l.Store.LayersByUncompressedDigest(d) })
}

// Mount is that of storage.Store.
func (l *Library) Mount(id, label string) (string, error) {
	return ask(l, func() (string, error) { return l.Store.Mount(id, label) })
}

// PutLayer is that of storage.Store.
//
//nolint:revive // the library has its parameters so
func (l *Library) PutLayer(id, parent string, names []string, label string, writable bool, o *storage.LayerOptions,
	diff io.Reader) (*storage.Layer, int64, error) {
	var size int64
	made, err := makes(l, &l.Wrote, func() (made *storage.Layer, err error) {
		err = withoutUmask(func() (err error) {
			made, size, err = l.Store.PutLayer(id, parent, names, label, writable, o, diff)
			return err
		})
		return made, err
	})
	if err != nil {
		return made, 0, err
	}
	return made, size, nil
}

// RemoveNames is the library's.
func (l *Library) RemoveNames(id string, names []string) error {
	defer l.Recorded.Store(true)
	return l.do(func() error { return l.Store.RemoveNames(id, names) })
}

// SetImageBigData is that of storage.Store.
func (l *Library) SetImageBigData(id, key string, data []byte, of func([]byte) (digest.Digest, error)) error {
	defer l.Recorded.Store(true)
	return l.do(func() error { return l.Store.SetImageBigData(id, key, data, of) })
}

// SetNames is the library's.
func (l *Library) SetNames(id string, names []string) error {
	defer l.Recorded.Store(true)
	return l.do(func() error { return l.Store.SetNames(id, names) })
}

// Unmount is that of storage.Store.
func (l *Library) Unmount(id string, force bool) (bool, error) {
	return ask(l, func() (bool, error) { return l.Store.Unmount(id, force) })
}
