package roottest

import (
	"context"
	"sync/atomic"

	"github.com/cooperbuild/cooper/build/internal/cache"
	"github.com/cooperbuild/cooper/build/internal/rootfs"
)

// Step is a step that writes files.
type Step struct {
	// Name is all that the step is found by, besides what is below.
	Name string
	// Files are for Plant.
	Files []string
	// Linked says that the layer doesn't depend on what is below.
	Linked bool
	// Awaited says that equal steps of other builds are waited for.
	Awaited bool
	// Changed says that an input changed while the step was done.
	Changed bool
	// Then is called with the directory that the step writes to when the files are there; nil: nothing is done.
	Then func(ctx context.Context, t *rootfs.Staged, dir string) error
	// KeyErr is the error of finding the step's key.
	KeyErr error
	// Ran counts how often it was done.
	Ran atomic.Int32
}

var _ rootfs.Work = (*Step)(nil)

// Files is a step that writes files, see [Plant].
func Files(name string, files ...string) *Step { return &Step{Name: name, Files: files} }

// Shape is known by the step's name.
func (s *Step) Shape() rootfs.Shape {
	return rootfs.Shape{Key: cache.NewKey("test shape").Add("name", s.Name).Key(), Linked: s.Linked,
		Awaited: s.Awaited}
}

// Keys is one key.
func (s *Step) Keys() []rootfs.KeyFunc {
	return []rootfs.KeyFunc{func(_ context.Context, below cache.ContentID) (cache.Key, error) {
		k := cache.NewKey("test").Add("name", s.Name)
		if !s.Linked {
			k.Add("below", string(below))
		}
		return k.Key(), s.KeyErr
	}}
}

// Exec writes the files.
func (s *Step) Exec(ctx context.Context, t *rootfs.Staged) error {
	s.Ran.Add(1)
	dir, _ := t.Snap.Files()
	if err := Plant(dir, s.Files...); err != nil {
		return err
	}
	if s.Then != nil {
		return s.Then(ctx, t, dir)
	}
	return nil
}

// Stable says whether no input changed.
func (s *Step) Stable(context.Context) (bool, error) { return !s.Changed, nil }
