package push

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/internal/guard"
)

// streamed is the size in bytes, uncompressed, from which a layer is sent while it is compressed. A smaller one is
// compressed first: the registry may turn out to have its blob.
const streamed = 8 << 20

// growing is a file that a layer is compressed into.
type growing struct {
	file *os.File

	mu sync.Mutex
	// more is closed, and replaced, whenever there is more.
	more chan struct{}
	size int64
	// whole and err say how it ended; both are nil until then.
	whole *ocispec.Descriptor
	err   error
}

var (
	_ io.Writer        = (*growing)(nil)
	_ registry.Growing = (*growing)(nil)
)

func newGrowing(file *os.File) *growing { return &growing{file: file, more: make(chan struct{})} }

func (g *growing) Write(p []byte) (int, error) {
	n, err := g.file.Write(p)
	g.set(func() { g.size += int64(n) })
	return n, err
}

// end says that there is no more: the blob is whole, or it could not be made.
func (g *growing) end(d ocispec.Descriptor, err error) {
	g.set(func() {
		if g.err = err; err == nil {
			g.whole = &d
		}
	})
}

func (g *growing) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	close(g.more)
	g.more = make(chan struct{})
}

// ReadAt is that of [registry.Growing].
func (g *growing) ReadAt(p []byte, at int64) (int, error) { return g.file.ReadAt(p, at) }

// Await is that of [registry.Growing].
func (g *growing) Await(ctx context.Context, n int64) (int64, *ocispec.Descriptor, error) {
	for {
		g.mu.Lock()
		size, whole, err, more := g.size, g.whole, g.err, g.more
		g.mu.Unlock()
		if size > n || whole != nil || err != nil {
			return size, whole, err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return size, nil, context.Cause(ctx)
		}
	}
}

// streamLayer compresses a layer and sends it meanwhile, to one repository of each registry; the others mount it.
func (p *Pusher) streamLayer(ctx context.Context, l export.Blob) (d ocispec.Descriptor, err error) {
	begun := make(uploads, 0, len(p.repos))
	for _, r := range p.repos {
		begun = append(begun, upload{to: r, what: r.ref.String() + " layer " + l.DiffID.Encoded()[:12]})
	}
	defer func() {
		if err != nil {
			begun.cancel(ctx)
		}
	}()
	file, err := p.Spool()
	if err != nil {
		return d, err
	}
	defer func() { _ = file.Close() }() // the file has no name and goes with its last use
	if d, err = p.packAndStream(ctx, l, file, begun); err != nil {
		return d, err
	}
	return d, p.sendAll(ctx, begun, d, file)
}

// packAndStream compresses a layer into a file, and begins uploads that send what is in it.
func (p *Pusher) packAndStream(ctx context.Context, l export.Blob, file *os.File, begun uploads) (ocispec.Descriptor,
	error) {
	threads, release, err := p.threads(ctx, l)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	g := newGrowing(file)
	first := map[string]bool{}
	group, inner := errgroup.WithContext(ctx)
	for i := range begun {
		u := &begun[i]
		if !first[u.to.ref.Domain] {
			first[u.to.ref.Domain] = true
			group.Go(guard.Func(func() error { return p.stream(inner, u, g) }))
		}
	}
	var d ocispec.Descriptor
	err = guard.Call(func() (err error) {
		d, err = p.Codec.Pack(inner, l, g, threads)
		return err
	})
	release()
	if err == nil {
		p.keep(ctx, l, d, file)
	}
	g.end(d, err)
	if failed := group.Wait(); err == nil { // an upload that fails ends the compression with its error
		err = failed
	}
	return d, err
}

// stream sends a blob to one repository while it is made.
func (p *Pusher) stream(ctx context.Context, u *upload, g *growing) error {
	if err := p.sending.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer p.sending.Release(1)
	var err error
	if u.Upload, err = u.to.Stream(ctx, g, p.told(u.what, 0)); err != nil {
		return fmt.Errorf("push to %s: %w", u.to.ref, err)
	}
	return nil
}
