package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"

	"github.com/cooperbuild/cooper/build/store/scratch"
	"github.com/cooperbuild/cooper/imagebuilder/layer"
)

// A Snapshot is a directory that a step writes to, until it is committed as a layer or removed.
type Snapshot interface {
	// Dir is where the step's files go: an overlay's upper directory if Mounted is false, the whole root file system of
	// the step if it is true.
	Dir() string
	// Work is an empty directory on the same file system for the overlay's own use; empty if Mounted.
	Work() string
	Mounted() bool
	// Read makes the digests of what the step did. The result is kept for Commit; if it is empty there is nothing to
	// commit, and the snapshot can be used for another step or removed.
	Read(o ReadOptions) (layer.Result, error)
	// Commit makes the layer on top of the parent that Prepare was given, or on the one named if the snapshot isn't
	// mounted, unless the store has it: then it takes that. Read must have been called. The snapshot can't be used
	// afterwards, but mounts of its directory can until Remove.
	Commit(ctx context.Context, parent string) (Layer, error)
	// Remove deletes the snapshot, and does nothing if it has become a layer.
	Remove() error
}

var (
	_ Snapshot = (*staged)(nil)
	_ Snapshot = (*mounted)(nil)
)

// Prepare makes a snapshot on top of a parent layer ("" for none). The parent's layer must be in the store already
// if the store doesn't stage; otherwise it isn't looked at.
func (s *Store) Prepare(ctx context.Context, parent string) (Snapshot, error) {
	if !s.staging {
		return s.prepareMounted(ctx, parent)
	}
	// Not in the driver's own place for staged directories: podman before 5 empties that, whatever is under way in it.
	base, remove, err := s.TempDir(ctx)
	if err != nil {
		return nil, fmt.Errorf("stage a layer: %w", err)
	}
	st := &staged{store: s, base: base, remove: remove}
	st.out.Target = filepath.Join(base, "dir")
	if err := errors.Join(os.Mkdir(st.Dir(), 0o755), os.Mkdir(st.Work(), 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("stage a layer: %w", err), st.Remove())
	}
	return st, nil
}

// stagedOverhead is what a layer takes on disk besides its files, in bytes: the driver's directory, with the layer's
// root directory, two small files, an empty directory, and the tar-split records.
const stagedOverhead = 6 * 4096

// staged is a temporary directory with that of the step in it. As long as the step's isn't renamed to be a layer, only
// cooper knows of it.
type staged struct {
	store *Store
	base  string
	out   drivers.DriverWithDifferOutput
	// disk and linked are those of the layer's note.
	disk   int64
	linked bool
	// remove deletes base.
	remove func() error
	once   sync.Once
	err    error
}

func (st *staged) Dir() string   { return st.out.Target }
func (st *staged) Work() string  { return filepath.Join(st.base, "work") }
func (st *staged) Mounted() bool { return false }

func (st *staged) Read(o ReadOptions) (layer.Result, error) {
	split, err := scratch.FileIn(st.base)
	if err != nil {
		return layer.Result{}, fmt.Errorf("read layer: %w", err)
	}
	res, err := layer.Read(o.Context, st.out.Target,
		o.apply(layer.Options{OverlayXattr: st.store.OverlayXattr(), TarSplit: split}))
	if err != nil || res.Empty {
		return res, errors.Join(err, split.Close())
	}
	root, err := os.Lstat(st.out.Target)
	if err != nil {
		return res, errors.Join(err, split.Close())
	}
	mode := root.Mode()
	st.out.RootDirMode = &mode
	st.out.UncompressedDigest, st.out.Size = res.DiffID, res.Size
	st.disk, st.linked = res.Disk+stagedOverhead, res.Linked
	st.out.UIDs, st.out.GIDs = res.UIDs, res.GIDs
	st.out.TarSplit = split
	return res, nil
}

func (st *staged) Commit(ctx context.Context, parent string) (Layer, error) {
	if st.out.UncompressedDigest == "" {
		return Layer{}, errors.New("commit layer: its digests have not been made")
	}
	l, made, err := st.store.commit(ctx, parent, content{st.out.UncompressedDigest, st.disk, st.linked},
		func(id string) (*storage.Layer, error) {
			// The library would replace the files of a layer that is there. Another tool that unpacks the same one has the lock
			// until it is done.
			if st.store.HasLayer(id) {
				return nil, storage.ErrDuplicateID
			}
			return st.store.store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
				ID: id, ParentLayer: parent, DiffOutput: &st.out, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
				LayerOptions: &storage.LayerOptions{IDMappingOptions: HostIDs()},
			})
		})
	if err != nil {
		return Layer{}, errors.Join(err, st.Remove())
	}
	if made {
		// The rename took the directory; what is left is the overlay's work directory.
		err = st.Remove()
	}
	return l, err
}

func (st *staged) Remove() error {
	st.once.Do(func() {
		if split := st.out.TarSplit; split != nil { // a commit closes it
			st.out.TarSplit = nil
			st.err = split.Close()
		}
		if err := st.remove(); err != nil {
			st.err = errors.Join(st.err, fmt.Errorf("remove staged layer: %w", err))
		}
	})
	return st.err
}

// HostIDs says that the files' IDs need no change: what is on disk, seen from this process, is what the image says.
func HostIDs() storage.LayerIDMappingOptions {
	return storage.LayerIDMappingOptions{HostUIDMapping: true, HostGIDMapping: true}
}
