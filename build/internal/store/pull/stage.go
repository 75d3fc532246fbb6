package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"

	"go.podman.io/storage"
	drivers "go.podman.io/storage/drivers"
	"go.podman.io/storage/pkg/archive"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/scratch"
	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/decompress"
)

// maxWindows is the memory in bytes that all decoders of zstd may take at the same time.
const maxWindows = 32 << 20

// area is where the layers of one image are unpacked before they are in the store.
type area struct {
	dir     string
	remove  func() error
	writers *unpack.Writers
	windows *semaphore.Weighted
}

func newArea(ctx context.Context, from *scratch.Room) (*area, error) {
	dir, remove, err := from.Dir(ctx)
	if err != nil {
		return nil, err
	}
	return &area{dir, remove, unpack.NewWriters(), semaphore.NewWeighted(maxWindows)}, nil
}

// close removes what has not become a layer.
func (a *area) close() error {
	a.writers.Close()
	return a.remove()
}

// reserve waits until there is memory for a decoder.
func (a *area) reserve(ctx context.Context, memory int64) (release func(), err error) {
	memory = min(memory, maxWindows)
	if err := a.windows.Acquire(ctx, memory); err != nil {
		return nil, context.Cause(ctx)
	}
	return func() { a.windows.Release(memory) }, nil
}

// stages tells whether layers are unpacked here: where a directory can become a layer by a rename, and where all files
// get their owners.
func (c *layerCopy) stages() bool {
	return c.room.library.Layout.Renames && !c.room.library.Layout.LooseOwners
}

// stagedLayer is a layer that is unpacked, verified and not in the store yet.
type stagedLayer struct {
	dir   string
	split *os.File // nil: the library has it
	res   unpack.Result
	blob  library.Blob
}

func (s *stagedLayer) close() error {
	if s == nil || s.split == nil {
		return nil
	}
	return s.split.Close()
}

// stage unpacks a layer: what another layer of the store gives, or else the source. Its error is unpack.ErrStrange for
// one that the library has to unpack.
func (c *layerCopy) stage(ctx context.Context, l *pendingLayer) error {
	if same, err := c.room.library.LayersByUncompressedDigest(l.diffID); err == nil && len(same) > 0 {
		err := c.stageFrom(ctx, l, func(ctx context.Context) (*layerSource, error) { return c.storeSource(ctx, same[0]) })
		if err == nil || ctx.Err() != nil || errors.Is(err, unpack.ErrStrange) || l.beyond != nil {
			return err
		}
	}
	err := c.stageFrom(ctx, l, func(ctx context.Context) (*layerSource, error) { return c.partialSource(ctx, l) })
	if err == nil || ctx.Err() != nil || errors.Is(err, unpack.ErrStrange) || l.beyond != nil {
		return err
	}
	return c.stageFrom(ctx, l, func(ctx context.Context) (*layerSource, error) { return c.blobSource(ctx, l) })
}

// layerSource is what a layer's archive is read from.
type layerSource struct {
	io.Reader
	blob library.Blob
	// spool is a file that gets the blob as it is read; nil: it is not kept.
	spool *os.File
	// done ends reading; whole says that all was right. Its context is not that of reading, which ends with the last byte.
	done func(ctx context.Context, whole bool) error
}

// storeSource reads an archive from a layer of the store.
func (c *layerCopy) storeSource(ctx context.Context, same storage.Layer) (*layerSource, error) {
	rc, err := c.room.store.LayerTar(store.FromStorage(&same))
	if err != nil {
		return nil, err
	}
	return &layerSource{
		Reader: store.Interruptible(ctx, rc), done: func(context.Context, bool) error { return rc.Close() },
		blob: library.Blob{Digest: same.CompressedDigest, Size: same.CompressedSize, Compression: same.CompressionType},
	}, nil
}

// blobSource reads a blob from the image's source.
func (c *layerCopy) blobSource(ctx context.Context, l *pendingLayer) (_ *layerSource, err error) {
	rc, err := c.src.Fetch(ctx, l.desc)
	if err != nil {
		return nil, err
	}
	var came atomic.Int64
	rc = countingReader{rc, &came}
	s := &layerSource{blob: library.Blob{Digest: l.desc.Digest, Size: l.desc.Size}}
	if s.Reader, err = content.Verify(rc, l.desc); err != nil {
		return nil, errors.Join(err, rc.Close())
	}
	if c.opts.Keep != nil {
		if s.spool, err = c.room.tempFile(); err != nil {
			return nil, errors.Join(err, rc.Close())
		}
		s.Reader = io.TeeReader(s.Reader, s.spool)
	}
	stop := c.report(l, l.desc.Size, &came)
	s.done = func(ctx context.Context, whole bool) error {
		stop(whole)
		_ = rc.Close() // everything was read, or does not count
		if s.spool == nil {
			return nil
		}
		if whole {
			c.opts.Keep(ctx, l.desc, s.spool)
		}
		return s.spool.Close()
	}
	return s, nil
}

// stageFrom unpacks a layer from one source.
func (c *layerCopy) stageFrom(ctx context.Context, l *pendingLayer,
	open func(ctx context.Context) (*layerSource, error)) (err error) {
	inner, interrupt := context.WithCancel(ctx)
	defer interrupt()
	from, err := open(inner)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.done(ctx, err == nil)) }()
	st := &stagedLayer{dir: filepath.Join(c.area.dir, strconv.Itoa(l.number))}
	if err := os.Mkdir(st.dir, 0o700); err != nil {
		return fmt.Errorf("unpack a layer: %w", err)
	}
	if st.split, err = scratch.FileIn(c.area.dir); err != nil {
		return fmt.Errorf("unpack a layer: %w", err)
	}
	st.res, err = unpack.Unpack(ctx, from, unpack.Options{
		DiffID: l.diffID, Dir: st.dir, TarSplit: st.split, Marks: c.room.library.Layout.Marks, Nested: unshare.IsRootless(),
		Writers: c.area.writers, Reserve: c.area.reserve, Interrupt: interrupt,
	})
	l.found = st.res.Archive
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return errors.Join(err, st.close(), scratch.RemoveAll(st.dir))
	}
	st.blob = from.blob
	if st.blob.Digest == "" { // of a layer that was never compressed
		st.blob = library.Blob{Digest: l.diffID, Size: st.res.Size}
	}
	switch st.res.Format {
	case decompress.Gzip:
		st.blob.Compression = archive.Gzip
	case decompress.Zstd:
		st.blob.Compression = archive.Zstd
	}
	l.staged = st
	return nil
}

// makeStaged makes a layer of a directory. The caller has the lock of its commit.
func (c *layerCopy) makeStaged(l *pendingLayer) error {
	st := l.staged
	mode, err := c.rootOf(l)
	if err != nil {
		return fmt.Errorf("make its root directory: %w", err)
	}
	out := drivers.DriverWithDifferOutput{
		Target: st.dir, UncompressedDigest: l.diffID, CompressedDigest: st.blob.Digest, Size: st.res.Size, TarSplit: st.split,
		UIDs: sorted(st.res.Members.UIDs), GIDs: sorted(st.res.Members.GIDs), RootDirMode: &mode,
	}
	st.split = nil
	_, err = c.room.library.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: l.id, ParentLayer: l.parent, DiffOutput: &out, DiffOptions: &drivers.ApplyDiffWithDifferOpts{},
		LayerOptions: &storage.LayerOptions{IDMappingOptions: store.HostIDs()},
	})
	if errors.Is(err, storage.ErrDuplicateID) {
		return nil // another tool pulls the same
	}
	if err != nil {
		return err
	}
	c.made = append(c.made, l.id)
	c.blobs[l.id] = st.blob
	return nil
}

// bottomMode is the mode that the driver gives the root directory of a layer that has none and stands on nothing.
const bottomMode = 0o555

// rootOf gives the root directory of a layer that has none in its archive the owner and the mode that the driver gives
// it: those of the layer below.
func (c *layerCopy) rootOf(l *pendingLayer) (mode os.FileMode, err error) {
	if !l.staged.res.Root {
		st := unix.Stat_t{Mode: bottomMode}
		if l.parent != "" {
			below, err := c.room.store.DiffDir(l.parent)
			if err == nil {
				err = unix.Stat(below, &st)
			}
			if err != nil && !c.room.store.HasLayer(l.parent) {
				err = errors.Join(storage.ErrParentUnknown, err)
			}
			if err != nil {
				return 0, err
			}
		}
		err := errors.Join(os.Lchown(l.staged.dir, int(st.Uid), int(st.Gid)), unix.Chmod(l.staged.dir, st.Mode&0o7777))
		if err != nil {
			return 0, err
		}
	}
	info, err := os.Lstat(l.staged.dir)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

func sorted(ids map[uint32]bool) []uint32 { return slices.Sorted(maps.Keys(ids)) }

// noteBlobs has the records of the layers say how large their blobs were and how they were compressed.
func (c *layerCopy) noteBlobs() error {
	if len(c.blobs) == 0 {
		return nil
	}
	return c.room.library.NoteBlobs(c.blobs)
}
