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
	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Layer brings a layer into all repositories and describes its blob. Further calls for the same layer wait
// for the first call and return its result.
func (p *Pusher) Layer(ctx context.Context, l export.Blob) (ocispec.Descriptor, error) {
	p.mu.Lock()
	s := p.layers[l.DiffID]
	mine := s == nil
	if mine {
		s = &sent{ready: make(chan struct{})}
		p.layers[l.DiffID] = s
	}
	p.mu.Unlock()
	if mine {
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

func (p *Pusher) sendLayer(ctx context.Context, l export.Blob) (ocispec.Descriptor, error) {
	if err := p.spooled.Acquire(ctx, 1); err != nil {
		return ocispec.Descriptor{}, context.Cause(ctx)
	}
	defer p.spooled.Release(1)
	d, known := p.known(l)
	var begun []upload
	var err error
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
		for _, u := range begun {
			u.Cancel(ctx)
		}
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
}

// begin begins the uploads of a blob to those repositories that don't have it and can't get it from a neighbour.
func (p *Pusher) begin(ctx context.Context, d ocispec.Descriptor) (begun []upload, err error) {
	for _, r := range p.repos {
		has, err := r.Has(ctx, d)
		var u *registry.Upload
		if err == nil && !has {
			u, err = r.Begin(ctx, d, p.neighbours(r, d.Digest))
		}
		if err != nil {
			return nil, fmt.Errorf("push to %s: %w", r.ref, err)
		}
		if u == nil {
			p.notePlace(r, d)
			continue
		}
		begun = append(begun, upload{u, r})
	}
	return begun, nil
}

// sendAll sends a blob to where its uploads were begun. Once the first upload is done, other
// repositories of that registry may mount the blob.
func (p *Pusher) sendAll(ctx context.Context, begun []upload, d ocispec.Descriptor, content io.ReaderAt) error {
	if err := p.sending.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer p.sending.Release(1)
	for i, u := range begun {
		if slices.ContainsFunc(begun[:i], func(b upload) bool { return b.to.ref.Domain == u.to.ref.Domain }) {
			u.Cancel(ctx)
			again, err := u.to.Begin(ctx, d, p.neighbours(u.to, d.Digest))
			if err != nil {
				return fmt.Errorf("push to %s: %w", u.to.ref, err)
			}
			u.Upload = again
		}
		if u.Upload != nil {
			what := u.to.ref.String() + " " + d.Digest.Encoded()[:12]
			if err := u.Send(ctx, content, p.told(what, d.Size)); err != nil {
				return fmt.Errorf("push to %s: %w", u.to.ref, err)
			}
		}
		p.notePlace(u.to, d)
	}
	return nil
}

// known describes the blob of a layer if notes tell it without compressing the layer.
func (p *Pusher) known(l export.Blob) (ocispec.Descriptor, bool) {
	switch {
	case l.Came.Digest != "" && (!p.Force || l.Came.MediaType == p.Codec.MediaType()):
		return ocispec.Descriptor{MediaType: l.Came.MediaType, Digest: l.Came.Digest, Size: l.Came.Size}, true
	case p.Codec.Kind == export.Uncompressed:
		return ocispec.Descriptor{MediaType: p.Codec.MediaType(), Digest: l.DiffID, Size: l.Size}, true
	}
	return p.notes.Get(l, p.Codec)
}

// content is a blob in a file: as it was pulled, or compressed anew. want describes the expected blob;
// the result may be another blob.
func (p *Pusher) content(ctx context.Context, l export.Blob, want ocispec.Descriptor) (*os.File, ocispec.Descriptor,
	error) {
	if want.Digest != "" && want.Digest == l.Came.Digest {
		if file, err := p.fetch(ctx, want); file != nil || err != nil {
			return file, want, err
		}
	}
	return p.pack(ctx, l)
}

// pack compresses a layer into a file, and notes the digest and size of the blob.
func (p *Pusher) pack(ctx context.Context, l export.Blob) (*os.File, ocispec.Descriptor, error) {
	threads, _ := p.Codec.Threads(l.Size)
	if err := p.packing.Acquire(ctx, int64(threads)); err != nil {
		return nil, ocispec.Descriptor{}, context.Cause(ctx)
	}
	defer p.packing.Release(int64(threads))
	file, err := p.Spool()
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	d, err := p.Codec.Pack(ctx, l, file, threads)
	if err == nil {
		err = p.notes.Put(l, p.Codec, d)
	}
	if err != nil {
		return nil, d, errors.Join(err, file.Close())
	}
	return file, d, nil
}

// fetch gets a blob from a repository that it was pulled from; nil: none of them has it any more.
func (p *Pusher) fetch(ctx context.Context, d ocispec.Descriptor) (*os.File, error) {
	if p.Origin == nil {
		return nil, nil
	}
	origins, err := p.Origin.Origins(d.Digest)
	if err != nil {
		return nil, err
	}
	for _, of := range origins {
		rc, err := p.Origin.FetchBlob(ctx, of, d)
		if err != nil {
			continue
		}
		file, err := p.Spool()
		if err == nil {
			err = fill(file, rc, d)
		}
		err = errors.Join(err, rc.Close())
		switch {
		case err == nil:
			return file, nil
		case ctx.Err() != nil:
			return nil, errors.Join(context.Cause(ctx), closeFile(file))
		}
		_ = closeFile(file) // the next repository may have the blob
	}
	return nil, nil
}

func closeFile(f *os.File) error {
	if f == nil {
		return nil
	}
	return f.Close()
}

func fill(file *os.File, from io.Reader, d ocispec.Descriptor) error {
	verified, err := content.Verify(from, d)
	if err == nil {
		_, err = io.Copy(file, verified)
	}
	return err
}

// config brings the config of an image into all repositories.
func (p *Pusher) config(ctx context.Context, image Image) error {
	d := image.ConfigDescriptor(image.Format)
	begun, err := p.begin(ctx, d)
	if err != nil {
		return err
	}
	return p.sendAll(ctx, begun, d, bytes.NewReader(image.Config))
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
