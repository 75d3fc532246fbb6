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

	"github.com/cooperbuild/cooper/build/registry/content"
	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/internal/patience"
	"github.com/cooperbuild/cooper/internal/printable"
)

// resumes is how often one download may break in all.
const resumes = 50

// getter requests a blob, or the range of it that the header names.
type getter func(ctx context.Context, header http.Header) (*http.Response, error)

// blob opens a blob. Where the registry lacks it, as with layers that may not be distributed, it tries the blob's URLs.
func (r *repository) blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", printable.Clip(d.Digest.String()), err)
	}
	b := r.newBlob(ctx, d, r.at.Ref.Domain, func(ctx context.Context, header http.Header) (*http.Response, error) {
		return r.get(ctx, "blobs/"+d.Digest.String(), header)
	})
	err := b.open()
	if errors.Is(err, content.ErrNotFound) && len(d.URLs) > 0 {
		return r.elsewhere(ctx, d, err)
	}
	if err != nil {
		return b, err
	}
	return newWidening(b, r.spare), nil
}

// part opens a part of a blob.
func (r *repository) part(ctx context.Context, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", printable.Clip(d.Digest.String()), err)
	}
	b := r.newBlob(ctx, d, r.at.Ref.Domain, func(ctx context.Context, header http.Header) (*http.Response, error) {
		return r.get(ctx, "blobs/"+d.Digest.String(), header)
	})
	b.part, b.offset, b.end = true, offset, offset+length
	return b, b.open()
}

func (r *repository) newBlob(ctx context.Context, d ocispec.Descriptor, host string, get getter) *blobReader {
	return &blobReader{ctx: ctx, host: host, get: get, pace: r.pace, want: d, end: d.Size,
		meter: patience.NewMeter(r.pace.Limits)}
}

// blobReader reads a blob over as many connections as it takes.
type blobReader struct {
	ctx context.Context //nolint:containedctx // io.Reader has no parameter for it
	// host is the server that the blob is read from, for messages.
	host string
	get  getter
	pace wire.Pace
	want ocispec.Descriptor
	// meter measures the speed of the download over all of its connections.
	meter *patience.Meter

	body   io.ReadCloser
	offset int64
	// end is where it ends: at the blob's end, or, if part is set, earlier or there.
	end  int64
	part bool
	// ranges says that the server gives parts of the blob, each over a connection of its own.
	ranges bool
	// failed counts the failures since the last byte that arrived, resumed all failures of the download.
	failed, resumed int
}

// open requests the bytes from offset to the end.
func (b *blobReader) open() error {
	header := http.Header{}
	switch {
	case b.part:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", b.offset, b.end-1))
	case b.offset > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", b.offset))
	}
	resp, err := b.get(b.ctx, header)
	if err != nil {
		return err
	}
	skip := int64(0)
	switch {
	case resp.StatusCode == http.StatusOK && b.part:
		return errors.Join(errNoRanges, resp.Body.Close())
	case resp.StatusCode == http.StatusOK:
		skip = b.offset // the registry has ignored the range and sends the blob from its start
	case resp.StatusCode == http.StatusPartialContent && header.Get("Range") != "":
		if r := resp.Header.Get("Content-Range"); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", b.offset)) {
			return errors.Join(fmt.Errorf("asked for what follows byte %d, the registry gives %q", b.offset, printable.Clip(r)),
				resp.Body.Close())
		}
	default:
		return wire.NewStatusError(resp, b.host)
	}
	if left := b.end - b.offset + skip; resp.ContentLength >= 0 && resp.ContentLength != left {
		return errors.Join(content.SizeIs(b.want, resp.ContentLength+b.offset-skip), resp.Body.Close())
	}
	b.ranges = resp.ProtoMajor == 1 && resp.Header.Get("Accept-Ranges") == "bytes"
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
		start := b.pace.Now()
		n, err := b.body.Read(p)
		b.offset += int64(n)
		if slow := b.meter.Note(n, b.pace.Now().Sub(start)); slow != nil && b.offset < b.end {
			return 0, fmt.Errorf("the download of %s ended after %d of %d bytes: %w\nhint: %s", b.want.Digest, b.offset,
				b.want.Size, slow, wire.SlowHint)
		}
		if n > 0 {
			b.failed = 0
			return n, nil // the next read gives the error again
		}
		switch {
		case err == nil:
			continue
		case b.ctx.Err() != nil:
			return 0, context.Cause(b.ctx)
		case b.offset >= b.end:
			return 0, io.EOF // all bytes have arrived, however the connection ended
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
	_ = b.Close() // the connection is broken, so its error tells nothing new
	b.failed++
	b.resumed++
	if idle, over := b.meter.Idle(); over || b.failed > wire.Fruitless || b.resumed > resumes {
		return fmt.Errorf("the download of %s broke off %d times, the last time after %d of %d bytes, and since then nothing came for %s: %w\nhint: %s",
			b.want.Digest, b.resumed, b.offset, b.want.Size, idle.Round(time.Second), err, wire.SlowHint)
	}
	return b.pace.Pause(b.ctx, b.failed)
}

// reopen goes on where the last connection ended. A refusal by the server is final; reopen tries
// again only if it can't connect.
func (b *blobReader) reopen() error {
	start := b.pace.Now()
	err := b.open()
	b.meter.Connect(b.pace.Now().Sub(start))
	var refused *wire.StatusError
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
