package snapshot

import (
	"context"
	"errors"
	"os"
	"sync"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// Below is a root file system that a snapshot is made on: a chain of layers, the upper ones of which may not be in the
// store yet.
type Below interface {
	// Wait waits until all of the layers are in the store.
	Wait(ctx context.Context) error
	// Stack gives the directories of the layers that aren't in the store yet, uppermost first, and the IDs of the others,
	// bottom first.
	Stack() (pending []*os.File, layers []string)
}

// Layers are a Below of layers that are in the store, bottom first, by ID.
type Layers []string

var _ Below = Layers(nil)

// Wait returns at once.
func (Layers) Wait(context.Context) error { return nil }

// Stack gives the layers.
func (l Layers) Stack() (pending []*os.File, layers []string) { return nil, l }

// A Snapshot is the root file system of a step, until it is committed as a layer or removed. It is used by one
// goroutine at a time.
type Snapshot interface {
	// Files is where files are put that the step gets from elsewhere, and the prefix of the attributes by which a
	// directory there says that it hides what is below. What InNamespace shows has these files.
	Files() (dir, marks string)
	// Start opens what the step starts from, to be looked at; it may show what was put into Files, too.
	Start(ctx context.Context) (View, error)
	// InNamespace calls run with the root file system as a step in the namespace sees it.
	InNamespace(ctx context.Context, ns NS, run RunFunc) error
	// Pending opens the directory that snapshots can be made on before this one is committed; nil if they can't.
	Pending() (*os.File, error)
	// Read makes the digests of what the step did. The result is kept for Commit; if it is empty there is nothing to
	// commit.
	Read(ctx context.Context, o ReadOptions) (layer.Result, error)
	// Commit makes the layer on top of a layer ("" for none), which is the one that the snapshot was made on, unless the
	// store has it: then it takes that. Read must have been called. The snapshot can't be used afterwards, but what was
	// made on Pending can until Remove.
	Commit(ctx context.Context, parent string) (store.Layer, error)
	// Remove deletes the snapshot, and does nothing if it has become a layer.
	Remove() error
}

// A RunFunc runs a step in a root file system. keep says that what the step has written is wanted; with an error too it
// is for another step in the same snapshot.
type RunFunc func(root executor.Rootfs) (keep bool, err error)

// A View is a root file system to look at or to copy from. The caller calls Release when done.
type View struct {
	// Dir is nil if there are no files.
	Dir *os.File
	// Mapped says that Dir shows the owners that the step has, and the kernel has mapped them for that.
	Mapped bool
	// Layers are the directories that Dir shows stacked, uppermost first, if there are some with the same owners; nil if
	// not. They are open as long as the room is. Own are those of them that lie in the store itself, and not in one that
	// somebody else may have a say in: no file in them ever changes.
	Layers, Own []*os.File
	Release     func() error
}

// nothing is the release of a root file system that needs none.
func nothing() error { return nil }

// way is how a store makes root file systems.
type way interface {
	prepare(ctx context.Context, below Below) (Snapshot, error)
	// alone is prepare for a step that looks at nothing below.
	alone(ctx context.Context, below Below) (Snapshot, error)
	view(ctx context.Context, below Below, ns NS) (View, error)
}

// A Room makes the snapshots of one build. It is safe for concurrent use.
type Room struct {
	store *store.Store
	lib   *library.Library
	way   way
	dirs  layerDirs

	mu sync.Mutex
	// mu guards stubs, which stubDir opens for the first step that is run, and removeStubs, which removes the directory.
	stubs       *os.File
	removeStubs func() error
}

// New makes a room in a store.
func New(st *store.Store) *Room {
	r := &Room{store: st, lib: library.Of(st.Parts().Library), dirs: layerDirs{store: st, open: map[string]*os.File{}}}
	switch layout := r.lib.Layout; {
	case layout.Renames:
		r.way = &staging{room: r}
	case layout.Stacks:
		r.way = newStacking(r)
	default:
		r.way = &trees{room: r}
	}
	return r
}

// Prepare makes a snapshot for a step.
func (r *Room) Prepare(ctx context.Context, below Below) (Snapshot, error) {
	return r.way.prepare(ctx, below)
}

// PrepareAlone makes a snapshot for a step that looks at nothing below, nor is run.
func (r *Room) PrepareAlone(ctx context.Context, below Below) (Snapshot, error) {
	return r.way.alone(ctx, below)
}

// View opens a root file system with the owners that a step in the namespace sees.
func (r *Room) View(ctx context.Context, below Below, ns NS) (View, error) {
	return r.way.view(ctx, below, ns)
}

// Reuse gives a snapshot to which nothing was written, and which nothing was made on, to a later step.
func (r *Room) Reuse(s Snapshot) error {
	if w, ok := r.way.(*staging); ok && w.keep(s) {
		return nil
	}
	return s.Remove()
}

// Overlay mounts directories of the caller's own that have marks as this process makes them.
func (r *Room) Overlay(o overlay.Options) (*os.File, error) {
	o.UserXattr = o.UserXattr || r.userMarks()
	return overlay.Mount(o)
}

// ByRename is the Way of a store in which a step's directory becomes the layer.
const ByRename = "rename"

// Way says in a word how layers are made, for reports.
func (r *Room) Way() string {
	if r.lib.Layout.Renames {
		return ByRename
	}
	return "driver"
}

func (r *Room) userMarks() bool { return r.lib.Layout.Marks == library.UserMarks }

// Close gives back what the room has opened and made.
func (r *Room) Close() error {
	var errs []error
	if w, ok := r.way.(*staging); ok {
		errs = append(errs, w.close())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stubs != nil {
		errs = append(errs, r.stubs.Close(), r.removeStubs())
		r.stubs = nil
	}
	return errors.Join(append(errs, r.dirs.close())...)
}

// stubDir is where the executor keeps the mount points that images lack, one for all steps of the build.
func (r *Room) stubDir(ctx context.Context) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stubs != nil {
		return r.stubs, nil
	}
	path, remove, err := r.store.Parts().Scratch.Tree(ctx, "stubs")
	if err != nil {
		return nil, err
	}
	dir, err := fsys.OpenDir(path)
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	r.stubs, r.removeStubs = dir, remove
	return dir, nil
}
