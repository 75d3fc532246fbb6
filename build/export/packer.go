package export

import (
	"context"
	"os"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cooperbuild/cooper/internal/guard"
)

// maxPending bounds the layers that are packed, or being packed, and wait for an earlier one.
const maxPending = 64

// Keeper has compressed layers. It is for one output, and safe for concurrent use.
type Keeper interface {
	// Blobs describe what a layer may leave as, best first; there may be none.
	Blobs(l Blob) []ocispec.Descriptor
	// Open gives one of these, as a file that was verified from its beginning to its end and that the caller closes; nil:
	// it is not to be had. The only error is that of a context that has ended.
	Open(ctx context.Context, d ocispec.Descriptor) (*os.File, error)
	// Keep may keep what a layer was compressed to. It changes neither the file nor its offset.
	Keep(ctx context.Context, l Blob, d ocispec.Descriptor, f *os.File)
}

// packer packs layers in parallel and hands out their blobs in order.
type packer struct {
	form  form
	codec Codec
	// keeper is nil if nobody keeps compressed layers.
	keeper Keeper
	// queue has one channel a layer, in order, on which its blob comes. Its capacity bounds the number of open files.
	queue chan chan blob
	// free are the threads that compress.
	free *semaphore.Weighted
}

// addLayers adds the layers in their order, which makes the output the same each time, and packs them in parallel
// meanwhile.
func (p packer) addLayers(ctx context.Context, layers []Blob) ([]ocispec.Descriptor, error) {
	out := make([]ocispec.Descriptor, len(layers))
	_, threads := p.codec.Threads(0)
	p.queue, p.free = make(chan chan blob, maxPending), semaphore.NewWeighted(int64(threads))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(guard.Func(func() error { return p.packAll(ctx, layers) }))
	group.Go(guard.Func(func() error {
		for i := range layers {
			b, err := p.next(ctx)
			if err != nil {
				return err
			}
			out[i] = b.Descriptor
			if err := p.form.add(ctx, b); err != nil {
				return err
			}
		}
		return nil
	}))
	return out, group.Wait()
}

// next waits for the next layer's blob. Its file is closed by form.add or form.abort.
func (p packer) next(ctx context.Context) (blob, error) {
	var ready chan blob
	select {
	case ready = <-p.queue:
	case <-ctx.Done():
		return blob{}, context.Cause(ctx)
	}
	select {
	case b := <-ready:
		return b, nil
	case <-ctx.Done():
		return blob{}, context.Cause(ctx)
	}
}

// packAll makes a blob of each layer. What may be had without compressing it takes none of the threads as long as it
// waits for others; what is compressed gets them in the order of the layers.
func (p packer) packAll(ctx context.Context, layers []Blob) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range layers {
		// Room for one, so that a worker never waits for the one that adds.
		ready := make(chan blob, 1)
		select {
		case p.queue <- ready:
		case <-ctx.Done():
		}
		var known []ocispec.Descriptor
		if p.keeper != nil {
			known = p.keeper.Blobs(l)
		}
		held := len(known) == 0
		if held && p.acquire(ctx, l) != nil {
			group.Go(func() error { return context.Cause(ctx) })
			break
		}
		group.Go(guard.Func(func() error {
			b, err := p.ready(ctx, l, known)
			if err == nil && b.file == nil {
				b, err = p.packHeld(ctx, l, held)
			}
			if err == nil {
				ready <- b
			}
			return err
		}))
	}
	return group.Wait()
}

// acquire waits for the threads that a layer gets: a large gzip layer has all to itself, small ones share them.
func (p packer) acquire(ctx context.Context, l Blob) error {
	n, _ := p.codec.Threads(l.Size)
	return p.free.Acquire(ctx, int64(n))
}

// ready is a layer's blob where it needs not be compressed. Without a file there is none.
func (p packer) ready(ctx context.Context, l Blob, known []ocispec.Descriptor) (blob, error) {
	for _, d := range known {
		file := p.form.has(d)
		if file == nil {
			kept, err := p.keeper.Open(ctx, d)
			if err != nil {
				return blob{}, err
			}
			if kept == nil {
				continue
			}
			if file, err = p.form.take(ctx, kept); err != nil {
				return blob{}, err
			}
		}
		if l.Spared != nil {
			l.Spared()
		}
		return blob{Descriptor: d, file: file}, nil
	}
	return blob{}, nil
}

// packHeld compresses a layer; held says whether it has got its threads. A layer that is not compressed is read when
// its turn comes.
func (p packer) packHeld(ctx context.Context, l Blob, held bool) (blob, error) {
	if !held && p.acquire(ctx, l) != nil {
		return blob{}, context.Cause(ctx)
	}
	n, _ := p.codec.Threads(l.Size)
	defer p.free.Release(int64(n))
	if p.codec.Kind == Uncompressed {
		d := ocispec.Descriptor{MediaType: p.codec.MediaType(), Digest: l.DiffID, Size: l.Size}
		return blob{Descriptor: d, layer: &l}, nil
	}
	file, err := p.form.spool()
	if err != nil {
		return blob{}, err
	}
	d, err := p.codec.Pack(ctx, l, file, n)
	if err != nil {
		return blob{}, err
	}
	if p.keeper != nil {
		p.keeper.Keep(ctx, l, d, file)
	}
	return blob{Descriptor: d, file: file}, nil
}
