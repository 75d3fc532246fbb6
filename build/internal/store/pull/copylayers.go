package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	split "github.com/vbatts/tar-split/tar/storage"
	"go.podman.io/storage"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/build/internal/store/partial"
	"github.com/cooperbuild/cooper/build/internal/store/unpack"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/guard"
)

const (
	// minFetches and maxFetches bound how many layers are fetched at the same time; between them it is two a processor.
	minFetches = 4
	maxFetches = 16
	// maxWaiting is how many fetched layers may wait for those below them; each holds a descriptor.
	maxWaiting = 64
	// progressInterval is the time between two reports on one layer.
	progressInterval = 250 * time.Millisecond
)

// layerCopy copies the layers of one image: it fetches several at once, unpacks them where the store can take
// directories, and makes layers of them in order.
type layerCopy struct {
	room *Room
	src  content.Fetcher
	img  *content.Image
	opts CopyOptions
	// area is where layers are unpacked before they are made; nil: the library unpacks them.
	area *area
	// earlier gives the files of earlier images; the first call looks for them.
	earlier func() *partial.Index
	// made are the layers that were not there before, bottom first; blobs, by the IDs of layers, what they came as.
	made  []string
	blobs map[string]library.Blob
	// beyondRange says that a layer could not be unpacked that has owners beyond the user's ranges.
	beyondRange bool
}

// pendingLayer is a layer that the store lacks.
type pendingLayer struct {
	number     int                // its place in the image, from 1 at the bottom
	desc       ocispec.Descriptor // of its blob at the source
	diffID     digest.Digest      // of its archive, uncompressed
	id, parent string             // of the layer in the store, and of the one that it goes on
	// again says that a layer of the image further below has the same content.
	again bool
	// ready is closed when found and what was fetched, staged or content, are set; or err.
	ready   chan struct{}
	found   *unpack.Archive
	staged  *stagedLayer
	content *layerContent
	err     error
	// beyond is the error of a file that could not be given to its owner, who is beyond the user's ranges.
	beyond error
}

// layerContent is a layer's verified tar stream, perhaps compressed, in a file without a name. digest is that of the
// blob that was fetched, or of the archive from another layer of the store.
type layerContent struct {
	file   *os.File
	digest digest.Digest
	// size is set if the file hasn't got the digest, since it holds the same content uncompressed.
	size *int64
}

// errNotFetched is the error of a layer that wasn't fetched because of another layer's error.
var errNotFetched = errors.New("not fetched")

// run brings all layers into the store and returns the ID of the top one.
func (c *layerCopy) run(ctx context.Context) (top string, err error) {
	pending, top, err := c.missing(ctx)
	if err != nil || len(pending) == 0 {
		return top, err
	}

	if c.stages() {
		if c.area, err = newArea(ctx, c.room.store.Parts().Scratch); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, c.area.close()) }()
		var index partial.Index
		c.earlier = sync.OnceValue(func() *partial.Index {
			c.room.lookEarlier(ctx, &index, c.opts.Name, c.img.DiffIDs)
			return &index
		})
		defer func() { err = errors.Join(err, index.Close()) }()
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waiting := make(chan struct{}, maxWaiting)
	fetched := make(chan error, 1)
	go func() { fetched <- guard.Call(func() error { return c.fetchAll(inner, pending, waiting) }) }()
	err = c.applyAll(inner, pending, waiting)
	if err != nil {
		cancel(err)
	}

	if fetchErr := <-fetched; err == nil || errors.Is(err, errNotFetched) {
		err = fetchErr
	}
	for _, l := range pending {
		err = errors.Join(err, l.drop())
	}
	if err == nil {
		err = c.noteBlobs()
	}

	if err != nil && ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if c.beyondRange {
		return "", c.missingIDs(pending)
	}

	return top, err
}

// missing gives the layers that the store lacks, bottom first, and the ID that the top layer has or will have.
func (c *layerCopy) missing(ctx context.Context) (pending []*pendingLayer, top string, err error) {
	var all []*pendingLayer
	seen := map[digest.Digest]bool{}
	for i, diffID := range c.img.DiffIDs {
		l := &pendingLayer{
			number: i + 1, desc: c.img.Layers[i], diffID: diffID, parent: top, id: store.LayerID(top, diffID),
			ready: make(chan struct{}),
		}
		all, top = append(all, l), l.id
	}
	have := 0
	for i := len(all); i > 0 && have == 0; i-- {
		switch _, err := c.room.store.UseChain(ctx, all[i-1].id); {
		case err == nil:
			have = i
		case !errors.Is(err, store.ErrNoLayer):
			return nil, "", err
		}
	}
	for _, l := range all[have:] {
		l.again, seen[l.diffID] = seen[l.diffID], true
	}
	return all[have:], top, nil
}

// fetchAll fetches layers, lowest first. When it returns, the ready of all layers is closed, after an error too.
func (c *layerCopy) fetchAll(ctx context.Context, pending []*pendingLayer, waiting chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(min(max(minFetches, 2*runtime.GOMAXPROCS(0)), maxFetches))
	for _, l := range pending {
		if l.again {
			close(l.ready)
			continue
		}

		select {
		case waiting <- struct{}{}:
		case <-ctx.Done():
			l.err = errNotFetched
			close(l.ready)
			continue
		}

		group.Go(func() error {
			defer close(l.ready)
			l.err = guard.Call(func() error { return c.fetch(ctx, l) })
			if l.err != nil {
				l.err = fmt.Errorf("layer %d of %d: %w", l.number, len(c.img.Layers), l.err)
			}
			return l.err
		})
	}

	return group.Wait()
}

// applyAll makes layers of what was fetched, lowest first.
func (c *layerCopy) applyAll(ctx context.Context, pending []*pendingLayer, waiting chan struct{}) error {
	for i, l := range pending {
		<-l.ready
		if l.err != nil {
			return errNotFetched
		}
		if err := c.apply(ctx, l); err != nil {
			if c.beyondRange = l.found != nil && unmapped(c.opts.Mapping, l.found); c.beyondRange {
				err = errors.Join(err, drain(pending[i+1:], waiting))
			}
			return fmt.Errorf("layer %d of %d: %w", l.number, len(c.img.Layers), err)
		}
		if !l.again {
			<-waiting
		}
	}
	return nil
}

// drain waits for the layers that won't be applied after an error: the report of missing IDs needs their owners too.
func drain(pending []*pendingLayer, waiting chan struct{}) error {
	var errs []error
	for _, l := range pending {
		<-l.ready
		if l.staged != nil || l.content != nil {
			errs = append(errs, l.drop())
			<-waiting
		}
	}
	return errors.Join(errs...)
}

// apply makes the layer and closes its content.
func (c *layerCopy) apply(ctx context.Context, l *pendingLayer) (err error) {
	if l.again {
		if err := c.fetch(ctx, l); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, l.drop()) }()
	if l.beyond != nil {
		return l.beyond
	}
	if err := c.makeAlone(ctx, l); err != nil {
		return fmt.Errorf("unpack %s: %w", l.desc.Digest, err)
	}
	return nil
}

// makeAlone makes the layer, unless somebody else has made it meanwhile: a build that commits the same one, or a copy
// of it, comes before or after. The library would replace the files of a layer that is there.
func (c *layerCopy) makeAlone(ctx context.Context, l *pendingLayer) (err error) {
	unlock, err := c.room.store.LockCommit(ctx, l.id)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	if _, there, err := c.room.store.Take(ctx, l.id, l.parent, nil); err != nil || there {
		return err
	}
	switch {
	case l.staged != nil:
		return c.makeStaged(l)
	case l.found.Odd && c.room.library.Layout.Stacks:
		return c.makeOdd(ctx, l, l.content)
	}
	return c.make(ctx, l, l.content)
}

// make has the library unpack the layer.
func (c *layerCopy) make(ctx context.Context, l *pendingLayer, content *layerContent) error {
	if _, err := content.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	made, err := c.room.library.PutLayer(l.id, l.parent, nil, "", false, &storage.LayerOptions{
		OriginalDigest: content.digest, OriginalSize: content.size, UncompressedDigest: l.diffID,
	}, store.Interruptible(ctx, content.file))
	if errors.Is(err, storage.ErrDuplicateID) {
		return nil // another tool pulls the same
	}
	if err == nil {
		c.made = append(c.made, l.id)
		if l.found.Odd {
			err = c.checkOdd(ctx, l, made)
		}
	} else if strings.Contains(err.Error(), split.ErrDuplicatePath.Error()) { // it comes from another process
		err = c.room.oddError(err)
	}
	return err
}

// undo removes the layers that were made, but for those that others have put something on.
func (c *layerCopy) undo() error {
	var errs []error
	for i := len(c.made) - 1; i >= 0; i-- {
		errs = append(errs, c.room.store.RemoveLayer(c.made[i]))
	}
	return errors.Join(errs...)
}

// tempFile makes a file without a name.
func (r *Room) tempFile() (*os.File, error) {
	file, err := r.store.Parts().Scratch.File()
	if err != nil {
		return nil, fmt.Errorf("make a temporary file: %w", err)
	}
	return file, nil
}

// drop gives back what was fetched for a layer.
func (l *pendingLayer) drop() error {
	err := errors.Join(l.content.close(), l.staged.close())
	l.content, l.staged = nil, nil
	return err
}

func (l *layerContent) close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}
