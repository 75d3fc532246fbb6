package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/internal/wire"
)

// request is one request of an upload: it sends the bytes of the blob from the offset of the upload to end.
type request struct {
	method, at string
	header     http.Header
	end        int64
	// grows is the content if it is still being made; end has no meaning then.
	grows Growing
}

// put sends a part of the blob. It is not sent again by itself, since the registry may have got a part of it. The
// body of the response is in memory and needs no Close.
func (u *Upload) put(ctx context.Context, q request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	body := &sending{upload: u, from: u.offset, end: q.end, cancel: cancel}
	if q.grows != nil {
		body.await = func(n int64) (int64, *ocispec.Descriptor, error) { return q.grows.Await(ctx, n) }
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.at, http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header = q.header
	req.Header.Set("User-Agent", "cooper")
	if q.end > u.offset || q.grows != nil {
		req.ContentLength, req.GetBody = q.end-u.offset, body.open // the client opens the body once more after a redirect
		if q.grows != nil {
			req.ContentLength = -1
		}
		if req.Body, err = body.open(); err != nil {
			return nil, err
		}
	}
	auth, used := u.to.repo.auth, ""
	if u.to.repo.owns(q.at) {
		if used = auth.Current(); used != "" {
			req.Header.Set("Authorization", used)
		}
	}
	u.sent = max(u.sent, q.end)
	body.start()
	resp, err := u.to.uploads.Do(req)
	body.stop()
	if err != nil {
		return nil, plainly(ctx, err)
	}
	if resp.StatusCode == http.StatusUnauthorized && resp.Request.URL.Host == u.to.repo.host {
		if _, _, err := auth.Renew(ctx, resp, used); err != nil {
			return nil, &wire.LoginError{Cause: errors.Join(err, resp.Body.Close())}
		}
	}
	detach(resp)
	return resp, nil
}

// detach reads the body of a response into memory, since put cancels the request when it returns. An error in reading
// is ignored: the status says enough.
func detach(resp *http.Response) {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, wire.MaxErrorBody))
	_ = resp.Body.Close() // the body has been read
	resp.Body = io.NopCloser(bytes.NewReader(text))
}

// plainly removes the address of the request from an error: whoever knows the address may be able to upload.
func plainly(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if at := new(url.Error); errors.As(err, &at) {
		return at.Err
	}
	return err
}

// sending is the part of a blob that one request sends. It cancels a request that stands still or is too slow.
type sending struct {
	upload *Upload
	cancel context.CancelCauseFunc
	// from and end are where the part begins and ends in the blob.
	from, end int64
	// await waits for more than n bytes of a blob that is still being made: end is how much there is of it. Nil: the blob
	// is whole.
	await func(n int64) (have int64, whole *ocispec.Descriptor, err error)

	mu sync.Mutex
	// body is the reader that the transport reads from now.
	body *body
	// took is how many bytes the transport read last, then the time when it did.
	took  int
	then  time.Time
	timer *time.Timer
	over  bool
}

func (s *sending) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.then = s.upload.to.pace.Now()
	s.wait()
}

// wait cancels the request if the transport stops reading the body, or if the registry doesn't answer after all of it.
func (s *sending) wait() {
	limit, what := s.upload.to.pace.Limits.Stall, "nothing was taken for"
	if s.body == nil || s.body.at >= s.end {
		limit, what = s.upload.to.pace.Commit, "no answer for"
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(limit, func() { s.cancel(fmt.Errorf("%s %s", what, limit)) })
}

func (s *sending) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.timer.Stop()
}

// open gives a reader of the part from its beginning. A reader that was opened before ends: the transport may still
// hold it.
func (s *sending) open() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body = &body{of: s, at: s.from}
	return s.body, nil
}

// body is a reader of the part; at is the offset in the blob of the next byte.
type body struct {
	of *sending
	at int64
}

func (b *body) Read(p []byte) (int, error) {
	s := b.of
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.upload.to.pace.Now()
	switch {
	case s.over || s.body != b:
		return 0, http.ErrBodyReadAfterClose
	case b.at >= s.end && s.await == nil:
		return 0, io.EOF
	}
	if err := s.upload.meter.Note(s.took, now.Sub(s.then)); err != nil {
		return 0, err
	}
	if b.at >= s.end {
		if err := b.grow(); err != nil {
			return 0, err
		}
		now = s.upload.to.pace.Now() // the registry did not hold up what was not there yet
	}
	n, err := s.upload.content.ReadAt(p[:min(int64(len(p)), s.end-b.at)], b.at)
	if n > 0 {
		err = nil
	}
	b.at, s.took, s.then = b.at+int64(n), n, now
	s.upload.sent = max(s.upload.sent, b.at)
	s.upload.moved(b.at)
	s.wait()
	return n, err
}

// grow waits, without the lock, until there is more of a blob that is still being made. The error is io.EOF if all of
// it was read.
func (b *body) grow() error {
	s := b.of
	s.timer.Stop()
	s.mu.Unlock()
	have, whole, err := s.await(b.at)
	s.mu.Lock()
	switch {
	case s.over || s.body != b:
		return http.ErrBodyReadAfterClose
	case err != nil:
		return err
	}
	if s.end = have; whole != nil {
		s.await = nil
	}
	s.then = s.upload.to.pace.Now()
	s.wait()
	if b.at >= s.end {
		return io.EOF
	}
	return nil
}

// Close does nothing: what it reads is the caller's.
func (b *body) Close() error { return nil }
