package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Layer brings a layer into all repositories and describes its blob. Further calls for the same layer wait
// for the first call and return its result.
func (p *Pusher) Layer(ctx context.Context, l export.Blob) (ocispec.Descriptor, error) {
	s, first := p.layers.take(l.DiffID)
	if first {
		s.err = guard.Call(func() (err error) {
			s.desc, err = p.sendLayer(ctx, l)
			return err
		})
		close(s.ready)
	}
	select {
	case <-s.ready:
		return s.desc, s.err
	case <-ctx.Done():
		return s.desc, context.Cause(ctx)
	}
}

func (p *Pusher) sendLayer(ctx context.Context, l export.Blob) (_ ocispec.Descriptor, err error) {
	if err := p.spooled.Acquire(ctx, 1); err != nil {
		return ocispec.Descriptor{}, context.Cause(ctx)
	}
	defer p.spooled.Release(1)
	d, known := p.known(l)
	if !known && l.Size >= streamed {
		return p.streamLayer(ctx, l)
	}
	var begun uploads
	defer func() {
		if err != nil {
			begun.cancel(ctx)
		}
	}()
	if known {
		if begun, err = p.begin(ctx, d); err != nil || len(begun) == 0 {
			return d, err
		}
	}
	content, got, err := p.content(ctx, l, d)
	if err != nil {
		return d, err
	}
	defer func() { _ = content.Close() }() // the file has no name and goes with its last use
	if got.Digest != d.Digest {
		begun.cancel(ctx)
		if begun, err = p.begin(ctx, got); err != nil {
			return got, err
		}
	}
	return got, p.sendAll(ctx, begun, got, content)
}

// upload brings a blob into a repository.
type upload struct {
	*registry.Upload
	to *repository
	// what it is called in progress; empty: by the digest of the blob.
	what string
}

// uploads bring the same blob into several repositories.
type uploads []upload

// cancel tells the registries that nothing more comes, also after ctx has ended.
func (all uploads) cancel(ctx context.Context) {
	for _, u := range all {
		if u.Upload != nil {
			u.Cancel(ctx)
		}
	}
}

// begin begins the uploads of a blob to those repositories that don't have it and can't get it from a neighbour.
func (p *Pusher) begin(ctx context.Context, d ocispec.Descriptor) (begun uploads, err error) {
	for _, r := range p.repos {
		has, err := r.Has(ctx, d)
		var u *registry.Upload
		if err == nil && !has {
			u, err = r.Begin(ctx, d, p.neighbours(r, d.Digest))
		}
		if err != nil {
			begun.cancel(ctx)
			return nil, fmt.Errorf("push to %s: %w", r.ref, err)
		}
		if u == nil {
			p.recordPlace(r, d)
			continue
		}
		begun = append(begun, upload{Upload: u, to: r})
	}
	return begun, nil
}

// sendAll sends a blob to where its uploads were begun. Once the first upload is done, other
// repositories of that registry may mount the blob.
func (p *Pusher) sendAll(ctx context.Context, begun uploads, d ocispec.Descriptor, content io.ReaderAt) error {
	if err := p.sending.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer p.sending.Release(1)
	for i := range begun {
		u := &begun[i]
		if slices.ContainsFunc(begun[:i], func(b upload) bool { return b.to.ref.Domain == u.to.ref.Domain }) {
			uploads{*u}.cancel(ctx)
			again, err := u.to.Begin(ctx, d, p.neighbours(u.to, d.Digest))
			if err != nil {
				return fmt.Errorf("push to %s: %w", u.to.ref, err)
			}
			u.Upload = again
		}
		if u.Upload != nil {
			if u.what == "" {
				u.what = u.to.ref.String() + " " + d.Digest.Encoded()[:12]
			}
			if err := u.Send(ctx, content, p.told(u.what, d.Size)); err != nil {
				return fmt.Errorf("push to %s: %w", u.to.ref, err)
			}
		}
		p.recordPlace(u.to, d)
	}
	return nil
}

// known describes the blob of a layer if that is known without compressing the layer.
func (p *Pusher) known(l export.Blob) (ocispec.Descriptor, bool) {
	if all := p.Keeper.Blobs(l); len(all) > 0 {
		d := all[0]
		return ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
			Annotations: d.Annotations}, true
	}
	if p.Codec.Kind == export.Uncompressed {
		return ocispec.Descriptor{MediaType: p.Codec.MediaType(), Digest: l.DiffID, Size: l.Size}, true
	}
	return ocispec.Descriptor{}, false
}

// content is a blob in a file: as it is kept or where it came from, or else compressed anew. want describes the
// expected blob; the result may be another blob.
func (p *Pusher) content(ctx context.Context, l export.Blob, want ocispec.Descriptor) (*os.File, ocispec.Descriptor,
	error) {
	if want.Digest != "" {
		if file, err := p.Keeper.Open(ctx, want); file != nil || err != nil {
			return file, want, err
		}
	}
	return p.pack(ctx, l)
}

// pack compresses a layer into a file, and keeps that.
func (p *Pusher) pack(ctx context.Context, l export.Blob) (*os.File, ocispec.Descriptor, error) {
	threads, release, err := p.threads(ctx, l)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	defer release()
	file, err := p.Spool()
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	d, err := p.Codec.Pack(ctx, l, file, threads)
	if err != nil {
		return nil, d, errors.Join(err, file.Close())
	}
	p.keep(ctx, l, d, file)
	return file, d, nil
}

// threads waits for the threads that compress a layer. The caller calls release.
func (p *Pusher) threads(ctx context.Context, l export.Blob) (n int, release func(), err error) {
	n, _ = p.Codec.Threads(l.Size)
	if err := p.packing.Acquire(ctx, int64(n)); err != nil {
		return 0, nil, context.Cause(ctx)
	}
	return n, func() { p.packing.Release(int64(n)) }, nil
}

// keep keeps the blob that a layer was compressed to.
func (p *Pusher) keep(ctx context.Context, l export.Blob, d ocispec.Descriptor, file *os.File) {
	if p.Codec.Kind != export.Uncompressed {
		p.Keeper.Keep(ctx, l, d, file)
	}
}

// config brings the config of an image into all repositories.
func (p *Pusher) config(ctx context.Context, image Image) error {
	if p.Codec.Kind == export.EStargz {
		var err error
		if image, err = p.packed(ctx, image); err != nil {
			return err
		}
	}
	d := image.ConfigDescriptor(image.Format)
	begun, err := p.begin(ctx, d)
	if err == nil {
		err = p.sendAll(ctx, begun, d, bytes.NewReader(image.Config))
	}
	if err != nil {
		begun.cancel(ctx)
	}
	return err
}

// packed waits for the layers of an image, and gives the image with what they were compressed to.
func (p *Pusher) packed(ctx context.Context, image Image) (Image, error) {
	layers := make([]ocispec.Descriptor, len(image.Layers))
	for i, l := range image.Layers {
		var err error
		if layers[i], err = p.Layer(ctx, l); err != nil {
			return image, err
		}
	}
	var err error
	image.Image, err = image.As(layers)
	return image, err
}

// tellEvery is the time between two reports on one blob.
const tellEvery = 200 * time.Millisecond

// told makes a function that reports how many bytes of a blob were sent, at most once in tellEvery.
func (p *Pusher) told(what string, total int64) func(done int64) {
	last := time.Now()
	return func(done int64) {
		if now := time.Now(); done == total || now.Sub(last) >= tellEvery {
			last = now
			p.Progress(what, done, total)
		}
	}
}
