package library

import (
	"errors"
	"sync"
	"sync/atomic"

	"go.podman.io/storage"

	"github.com/cooperbuild/cooper/internal/fsys"
	"github.com/cooperbuild/cooper/internal/guard"
)

// fuse lets calls of the library through until one of them panics.
type fuse struct {
	once sync.Once
	// blown is closed once err says why nothing can be asked any more.
	blown chan struct{}
	err   error
}

func newFuse() *fuse { return &fuse{blown: make(chan struct{})} }

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
func ask[T any](b *fuse, f func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}

	select {
	case <-b.blown:
		var none T
		return none, b.err
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
			b.once.Do(func() {
				b.err = broken
				close(b.blown)
			})
		}
		answered <- a
	}()

	select {
	case a := <-answered:
		return a.value, a.err
	case <-b.blown:
		var none T
		return none, b.err
	}
}

func (b *fuse) do(f func() error) error {
	_, err := ask(b, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// makes calls f, which writes a layer or an image's record, and sets what, unless the layer or record was there
// already. Another error sets it as well, since a part may have been written.
func makes[T any](b *fuse, what *atomic.Bool, f func() (T, error)) (T, error) {
	made, err := ask(b, f)
	if !errors.Is(err, storage.ErrDuplicateID) && !errors.Is(err, storage.ErrDuplicateName) {
		what.Store(true)
	}
	return made, err
}

// withoutUmask has the driver make a layer: vfs makes the root directory with mkdir's mode alone.
func withoutUmask(f func() error) error {
	return fsys.WithUmask(0, func() error { return call(f) })
}
