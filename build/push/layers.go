package push

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/export"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/internal/guard"
)

// Layer brings a layer into all repositories and describes its blob. Whoever asks for the same layer once more waits
// for the first.
func (p *Pusher) Layer(ctx context.Context, l Layer) (ocispec.Descriptor, error) {
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

func (p *Pusher) sendLayer(ctx context.Context, l Layer) (ocispec.Descriptor, error) {
	if err := p.spooled.Acquire(ctx, 1); err != nil {
		return ocispec.Descriptor{}, context.Cause(ctx)
	}
	defer p.spooled.Release(1)
	d, known := p.known(l)
	lacking := p.repos
	var err error
	if known {
		if lacking, err = p.lacking(ctx, d, p.repos); err != nil || len(lacking) == 0 {
			return d, err
		}
	}
	content, got, err := p.content(ctx, l, d)
	if err != nil {
		return d, err
	}
	defer func() { _ = content.Close() }() // it has no name, and nobody needs it any more
	if got.Digest != d.Digest {
		if lacking, err = p.lacking(ctx, got, p.repos); err != nil {
			return got, err
		}
	}
	for _, r := range lacking {
		if err := p.upload(ctx, r, got, content); err != nil {
			return got, err
		}
	}
	return got, nil
}

// known is the blob of a layer, if that can be told without making it.
func (p *Pusher) known(l Layer) (ocispec.Descriptor, bool) {
	switch {
	case l.Came.Digest != "" && (!p.Force || l.Came.MediaType == p.Codec.MediaType()):
		return ocispec.Descriptor{MediaType: l.Came.MediaType, Digest: l.Came.Digest, Size: l.Came.Size}, true
	case p.Codec.Kind == export.Uncompressed:
		return ocispec.Descriptor{MediaType: p.Codec.MediaType(), Digest: l.DiffID, Size: l.Size}, true
	}
	return p.noted(l)
}

// lacking are those repositories that don't have a blob and can't get it from another repository.
func (p *Pusher) lacking(ctx context.Context, d ocispec.Descriptor, of []*repository) (lacking []*repository,
	err error) {
	for _, r := range of {
		has, err := r.Has(ctx, d)
		if err != nil {
			return nil, fmt.Errorf("push to %s: %w", r.ref, err)
		}
		if has {
			p.notePlace(r, d)
			continue
		}
		lacking = append(lacking, r)
	}
	return lacking, nil
}

// content is a blob in a file: as it was pulled, or compressed anew. want is what it should be; what it is may be
// another.
func (p *Pusher) content(ctx context.Context, l Layer, want ocispec.Descriptor) (*os.File, ocispec.Descriptor, error) {
	if want.Digest != "" && want.Digest == l.Came.Digest {
		if file, err := p.fetch(ctx, want); file != nil || err != nil {
			return file, want, err
		}
	}
	return p.pack(ctx, l)
}

// pack compresses a layer into a file, and notes what came of it.
func (p *Pusher) pack(ctx context.Context, l Layer) (*os.File, ocispec.Descriptor, error) {
	threads, _ := p.Codec.Threads(l.Size)
	if err := p.packing.Acquire(ctx, int64(threads)); err != nil {
		return nil, ocispec.Descriptor{}, context.Cause(ctx)
	}
	defer p.packing.Release(int64(threads))
	file, err := p.Spool()
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	d, err := p.Codec.Pack(ctx, l.Blob, file, threads)
	if err == nil {
		err = p.note(l, d)
	}
	if err != nil {
		return nil, d, errors.Join(err, file.Close())
	}
	return file, d, nil
}

// fetch gets a blob from where it was pulled from; nil: nobody has it any more.
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
		_ = closeFile(file) // the next one may have it
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
	verified, err := registry.Verify(from, d)
	if err == nil {
		_, err = io.Copy(file, verified)
	}
	return err
}

// config brings the config of an image into all repositories.
func (p *Pusher) config(ctx context.Context, image Image) error {
	d := image.ConfigDescriptor(image.Format)
	lacking, err := p.lacking(ctx, d, p.repos)
	if err != nil {
		return err
	}
	for _, r := range lacking {
		if err := p.upload(ctx, r, d, bytes.NewReader(image.Config)); err != nil {
			return err
		}
	}
	return nil
}

// upload brings a blob into one repository, from a neighbour or by sending it.
func (p *Pusher) upload(ctx context.Context, r *repository, d ocispec.Descriptor, content io.ReaderAt) error {
	if err := p.sending.Acquire(ctx, 1); err != nil {
		return context.Cause(ctx)
	}
	defer p.sending.Release(1)
	u, err := r.Begin(ctx, d, p.neighbours(r, d.Digest))
	if err == nil && u != nil {
		err = u.Send(ctx, content, p.told(r.ref.String()+" "+d.Digest.Encoded()[:12], d.Size))
	}
	if err != nil {
		return fmt.Errorf("push to %s: %w", r.ref, err)
	}
	p.notePlace(r, d)
	return nil
}

// tellEvery is the time between two reports on one blob.
const tellEvery = 200 * time.Millisecond

// told has it told now and then how much of a blob was sent.
func (p *Pusher) told(what string, total int64) func(done int64) {
	last := time.Now()
	return func(done int64) {
		if now := time.Now(); done == total || now.Sub(last) >= tellEvery {
			last = now
			p.Progress(what, done, total)
		}
	}
}
