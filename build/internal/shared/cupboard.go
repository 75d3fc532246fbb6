package shared

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/internal/objects"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/sharedcache"
)

// cupboard is a place in a store of objects. The head of the store is the manifest of the artifact.
type cupboard struct {
	spec sharedcache.Spec
	room *Room

	mu    sync.Mutex
	store objects.Store
	// mark is that of the manifest that was read last.
	mark objects.Mark
}

// connected is the store, which is opened once.
func (p *cupboard) connected() (_ objects.Store, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.store == nil {
		p.store, err = objects.Open(p.spec)
	}
	return p.store, err
}

func (p *cupboard) open(ctx context.Context) (opened, error) {
	store, err := p.connected()
	if err != nil {
		return opened{}, err
	}
	text, mark, err := store.Head(ctx, content.MaxManifest)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mark = mark
	if err != nil {
		return opened{}, err
	}
	root := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromBytes(text),
		Size: int64(len(text))}
	return opened{headed{objects.Fetcher{Blobs: store}, root.Digest, text}, root, func() {}}, nil
}

// headed gives the blobs of a store, and its head.
type headed struct {
	objects.Fetcher
	root digest.Digest
	text []byte
}

func (h headed) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if d.Digest == h.root {
		return io.NopCloser(bytes.NewReader(h.text)), nil
	}
	return h.Fetcher.Fetch(ctx, d)
}

func (p *cupboard) begin(_ context.Context, o SaveOptions) (writer, error) {
	store, err := p.connected()
	if err != nil {
		return nil, err
	}
	return &storing{place: p, store: store, shown: p.room.Shown.Begin("writing the cache to " + p.spec.Where()),
		packed: packed{o.Keep(p.spec.Packing), p.spec.Packing.Codec(), p.room.Spool}}, nil
}

// storing writes to a cupboard.
type storing struct {
	place  *cupboard
	store  objects.Store
	packed packed
	shown  progress.Aside
}

func (w *storing) layer(ctx context.Context, l export.Blob) (ocispec.Descriptor, error) {
	return w.packed.into(ctx, l, w)
}

func (w *storing) holds(ctx context.Context, d ocispec.Descriptor) (bool, error) {
	return w.store.Has(ctx, d)
}

func (w *storing) blob(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error {
	there, err := w.store.Has(ctx, d)
	if there || err != nil {
		return err
	}
	w.shown.Transfer(d.Digest.Encoded()[:12], 0, d.Size)
	if err = w.store.Put(ctx, d, from); err == nil {
		w.shown.Transfer(d.Digest.Encoded()[:12], d.Size, d.Size)
	}
	return err
}

func (w *storing) put(ctx context.Context, a artifact) error {
	if err := w.store.Put(ctx, a.indexDescriptor(), bytes.NewReader(a.index)); err != nil {
		return err
	}
	w.place.mu.Lock()
	mark := w.place.mark
	w.place.mu.Unlock()
	return w.store.SetHead(ctx, a.manifest, mark)
}

func (w *storing) end(ctx context.Context, err error) { w.shown.End(ctx, err) }

// isChanged tells whether a place could not be written to since another writer was faster.
func isChanged(err error) bool { return errors.Is(err, objects.ErrChanged) }
