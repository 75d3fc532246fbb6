package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	// fruitless is how many attempts in a row may bring nothing, resumes how often a download may break in all.
	fruitless = 4
	resumes   = 50
)

// blob opens a blob.
func (r *repository) blob(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", clip(d.Digest.String()), err)
	}
	b := &blobReader{ctx: ctx, repo: r, want: d}
	return b, b.open()
}

// blobReader reads a blob over as many connections as it takes.
type blobReader struct {
	ctx  context.Context //nolint:containedctx // a reader has nobody else to ask
	repo *repository
	want ocispec.Descriptor

	body   io.ReadCloser
	offset int64
	// failed counts since the last byte that came, resumed in all.
	failed, resumed int
}

// open asks for what is still to come.
func (b *blobReader) open() error {
	ctx, cancel := context.WithCancelCause(b.ctx)
	header := http.Header{}
	if b.offset > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", b.offset))
	}
	resp, err := b.repo.get(ctx, "blobs/"+b.want.Digest.String(), header)
	if err != nil {
		cancel(nil)
		return err
	}
	skip := int64(0)
	switch {
	case resp.StatusCode == http.StatusOK:
		skip = b.offset // the registry knows no ranges
	case resp.StatusCode == http.StatusPartialContent && b.offset > 0:
		if r := resp.Header.Get("Content-Range"); !strings.HasPrefix(r, fmt.Sprintf("bytes %d-", b.offset)) {
			cancel(nil)
			return errors.Join(fmt.Errorf("asked for what follows byte %d, the registry gives %q", b.offset, clip(r)), resp.Body.Close())
		}
	default:
		defer cancel(nil)
		return newStatusError(resp, b.repo.at.ref.Domain)
	}
	if left := b.want.Size - b.offset + skip; resp.ContentLength >= 0 && resp.ContentLength != left {
		cancel(nil)
		return errors.Join(fmt.Errorf("%s has %d bytes in the registry, its manifest says %d", b.want.Digest, resp.ContentLength+b.offset-skip, b.want.Size),
			resp.Body.Close())
	}
	b.body = &watched{body: resp.Body, cancel: cancel, limit: b.repo.pace.stall}
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
		n, err := b.body.Read(p)
		b.offset += int64(n)
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
	if b.failed > fruitless || b.resumed > resumes {
		return fmt.Errorf("the download of %s broke off %d times, the last time after %d of %d bytes: %w", b.want.Digest, b.resumed, b.offset, b.want.Size, err)
	}
	select {
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	case <-time.After(b.repo.pace.first << (b.failed - 1)):
		return nil
	}
}

// reopen goes on where the last connection ended. A refusal counts; only a connection that can't be made is tried again.
func (b *blobReader) reopen() error {
	err := b.open()
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

// watched is a response's body, given up if a read brings nothing for too long. cancel ends the request.
type watched struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	limit  time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	var stalled atomic.Bool
	timer := time.AfterFunc(w.limit, func() {
		stalled.Store(true)
		w.cancel(nil)
	})
	n, err := w.body.Read(p)
	timer.Stop()
	if err != nil && stalled.Load() {
		err = fmt.Errorf("nothing came for %s", w.limit)
	}
	return n, err
}

func (w *watched) Close() error {
	err := w.body.Close()
	w.cancel(nil)
	return err
}
