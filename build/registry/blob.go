package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/internal/patience"
)

const (
	// fruitless is how many attempts in a row may bring nothing, resumes how often a download may break in all.
	fruitless = 4
	resumes   = 50
)

// getter asks for a blob, or for what the header says of it.
type getter func(ctx context.Context, header http.Header) (*http.Response, error)

// blob opens a blob. One that the registry hasn't got, as it may not be distributed, is where its URLs say.
func (r *repository) blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", clip(d.Digest.String()), err)
	}
	b := r.newBlob(ctx, d, r.at.ref.Domain, func(ctx context.Context, header http.Header) (*http.Response, error) {
		return r.get(ctx, "blobs/"+d.Digest.String(), header)
	})
	err := b.open()
	if errors.Is(err, ErrNotFound) && len(d.URLs) > 0 {
		return r.elsewhere(ctx, d, err)
	}
	return b, err
}

func (r *repository) newBlob(ctx context.Context, d ocispec.Descriptor, host string, get getter) *blobReader {
	return &blobReader{ctx: ctx, host: host, get: get, pace: r.pace, want: d, meter: patience.NewMeter(r.pace.limits)}
}

// blobReader reads a blob over as many connections as it takes.
type blobReader struct {
	ctx context.Context //nolint:containedctx // a reader has nobody else to ask
	// host is who is asked.
	host string
	get  getter
	pace pace
	want ocispec.Descriptor
	// meter counts over all connections.
	meter *patience.Meter

	body   io.ReadCloser
	offset int64
	// failed counts since the last byte that came, resumed in all.
	failed, resumed int
}

// open asks for what is still to come.
func (b *blobReader) open() error {
	header := http.Header{}
	if b.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", b.offset))
	}
	resp, err := b.get(b.ctx, header)
	if err != nil {
		return err
	}
	skip := int64(0)
	switch {
	case resp.StatusCode == http.StatusOK:
		skip = b.offset // the registry knows no ranges
	case resp.StatusCode == http.StatusPartialContent && b.offset > 0:
		if r := resp.Header.Get("Content-Range"); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", b.offset)) {
			return errors.Join(fmt.Errorf("asked for what follows byte %d, the registry gives %q", b.offset, clip(r)),
				resp.Body.Close())
		}
	default:
		return newStatusError(resp, b.host)
	}
	if left := b.want.Size - b.offset + skip; resp.ContentLength >= 0 && resp.ContentLength != left {
		return errors.Join(sizeIs(b.want, resp.ContentLength+b.offset-skip), resp.Body.Close())
	}
	b.body = resp.Body
	if _, err := io.CopyN(io.Discard, b.body, skip); err != nil {
		return errors.Join(err, b.Close())
	}
	return nil
}

func (b *blobReader) Read(p []byte) (int, error) {
	for {
		if b.body == nil {
			if err := b.reopen(); err != nil {
				return 0, err
			}
			continue
		}
		start := b.pace.now()
		n, err := b.body.Read(p)
		b.offset += int64(n)
		if slow := b.meter.Note(n, b.pace.now().Sub(start)); slow != nil && b.offset < b.want.Size {
			return 0, fmt.Errorf("the download of %s ended after %d of %d bytes: %w\nhint: %s", b.want.Digest, b.offset,
				b.want.Size, slow, slowHint)
		}
		if n > 0 {
			b.failed = 0
			return n, nil // an error comes again
		}
		switch {
		case err == nil:
			continue
		case b.ctx.Err() != nil:
			return 0, context.Cause(b.ctx)
		case b.offset >= b.want.Size:
			return 0, io.EOF // however the connection ended
		case errors.Is(err, io.EOF):
			err = io.ErrUnexpectedEOF
		}
		if err := b.broken(err); err != nil {
			return 0, err
		}
	}
}

// broken takes note of a connection that ended too early and waits; its error ends the download.
func (b *blobReader) broken(err error) error {
	_ = b.Close() // it is broken
	b.failed++
	b.resumed++
	if idle, over := b.meter.Idle(); over || b.failed > fruitless || b.resumed > resumes {
		return fmt.Errorf("the download of %s broke off %d times, the last time after %d of %d bytes, and since then nothing came for %s: %w\nhint: %s",
			b.want.Digest, b.resumed, b.offset, b.want.Size, idle.Round(time.Second), err, slowHint)
	}
	return b.pace.pause(b.ctx, b.failed)
}

// reopen goes on where the last connection ended. A refusal counts; only a connection that can't be made is tried
// again.
func (b *blobReader) reopen() error {
	start := b.pace.now()
	err := b.open()
	b.meter.Connect(b.pace.now().Sub(start))
	var refused *statusError
	if err == nil || errors.As(err, &refused) || b.ctx.Err() != nil {
		return err
	}
	return b.broken(err)
}

func (b *blobReader) Close() error {
	if b.body == nil {
		return nil
	}
	err := b.body.Close()
	b.body = nil
	return err
}
