package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/internal/wire"
	"github.com/cooperbuild/cooper/internal/patience"
	"github.com/cooperbuild/cooper/internal/printable"
)

const (
	// smallBlob is the size in bytes up to which a blob is sent in the request that ends its upload.
	smallBlob = 1 << 20
	// leastPiece is the smallest size, in bytes, of the pieces that a blob is sent in.
	leastPiece = 1 << 20
	// restarts is how often the upload of a blob may be begun anew.
	restarts = 4
)

// Upload brings one blob into a repository, over as many requests as it takes. See
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs
type Upload struct {
	to   *Destination
	want ocispec.Descriptor
	// content is the content of the blob; moved is called with the number of its bytes that were sent.
	content io.ReaderAt
	moved   func(done int64)
	// meter measures the speed over all requests of the upload.
	meter *patience.Meter

	// location is the address for the next request, which each answer of the registry names; empty: the upload has to be
	// begun.
	location string
	// offset is how many bytes the registry has confirmed; sent is how many were sent, which it may have.
	offset, sent int64
	// piece is the most bytes that go into one request; least is the least that the registry wants in one.
	piece, least int64
	// whole says that the registry takes a blob only in one request.
	whole bool
	// there says that the registry turned out to have the blob, although its confirmation was lost.
	there bool
	// best is the highest value, in bytes, that offset has had.
	best int64
	// failed counts the failures since the last progress, resumed all failures, begun how often the upload was begun.
	failed, resumed, begun int
}

// mount asks for the blob from another repository. A registry that can't mount it answers by
// beginning an upload, which u goes on with.
func (u *Upload) mount(ctx context.Context, from string) (bool, error) {
	ctx, end := lingering(ctx)
	defer end()
	query := url.Values{"mount": {u.want.Digest.String()}, "from": {from}}
	resp, err := u.to.repo.do(ctx, u.to.mountedBy(from), call{method: http.MethodPost, path: "blobs/uploads/",
		query: query})
	if err != nil {
		return false, err
	}
	switch resp.StatusCode {
	case http.StatusCreated:
		return true, resp.Body.Close()
	case http.StatusAccepted:
		return false, u.begin(resp)
	}
	return false, wire.NewStatusError(resp, u.host())
}

func (u *Upload) host() string { return u.to.repo.at.Ref.Domain }

// begin notes the location of an upload that the registry has begun.
func (u *Upload) begin(resp *http.Response) error {
	_ = resp.Body.Close() // there is nothing in it
	at, err := u.to.repo.location(resp)
	if err != nil {
		return err
	}
	u.location, u.offset, u.sent = at, 0, 0
	if least, err := strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64); err == nil && least > 0 {
		u.least = least
	}
	u.begun++
	return nil
}

// Cancel tells the registry that nothing more comes of an upload that was begun and isn't done, even if ctx has ended
// already, and takes a second at most. Errors are ignored: a registry drops uploads that stand still after some time.
func (u *Upload) Cancel(ctx context.Context) {
	if u.location == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	resp, err := u.to.repo.do(ctx, u.to.repo.auth, call{method: http.MethodDelete, at: u.location})
	if err == nil {
		_ = resp.Body.Close()
	}
	u.location = ""
}

// Send sends the blob, and calls moved with the bytes sent so far. An upload that breaks is resumed, or begun anew if
// the registry has lost it.
func (u *Upload) Send(ctx context.Context, content io.ReaderAt, moved func(done int64)) error {
	u.content, u.moved = content, moved
	for {
		done, err := u.next(ctx)
		switch {
		case err == nil && done:
			u.location = ""
			return nil
		case ctx.Err() != nil:
			u.Cancel(ctx)
			return context.Cause(ctx)
		case err == nil:
			u.progress()
			continue
		}
		if err := u.broken(ctx, err); err != nil {
			u.Cancel(ctx)
			return err
		}
	}
}

// next sends one request. done says that the registry has the blob.
func (u *Upload) next(ctx context.Context) (done bool, err error) {
	switch {
	case u.there:
		u.moved(u.want.Size)
		return true, nil
	case u.location == "":
		return false, u.open(ctx)
	case u.offset == 0 && (u.whole || u.want.Size <= smallBlob), u.offset == u.want.Size:
		return true, u.finish(ctx)
	}
	return false, u.patch(ctx)
}

// open has the registry begin an upload.
func (u *Upload) open(ctx context.Context) error {
	ctx, end := lingering(ctx)
	defer end()
	resp, err := u.to.repo.do(ctx, u.to.repo.auth, call{method: http.MethodPost, path: "blobs/uploads/"})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusAccepted {
		return wire.NewStatusError(resp, u.host())
	}
	return u.begin(resp)
}

// lingering gives a context that ends a second after ctx. A request that begins an upload has it: without the answer
// nobody could cancel the upload.
func lingering(ctx context.Context) (longer context.Context, end func()) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.AfterFunc(time.Second, func() { cancel(context.Cause(ctx)) })
	})
	return longer, func() {
		stop()
		cancel(nil)
	}
}

// patch sends the next piece.
func (u *Upload) patch(ctx context.Context) error {
	end := min(u.want.Size, u.offset+max(u.piece, u.least))
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	if u.offset > 0 || end < u.want.Size {
		// A blob in one piece gets no Content-Range, since some registries refuse it there.
		header.Set("Content-Range", fmt.Sprintf("%d-%d", u.offset, end-1))
	}
	before := u.offset
	resp, err := u.put(ctx, request{http.MethodPatch, u.location, header, end, nil})
	if err == nil {
		err = u.patched(resp, end)
	}
	if err != nil {
		return err
	}
	if u.offset <= before { // or the same would be sent without end
		return fmt.Errorf("%s has taken nothing of the bytes %d-%d", u.host(), before, end-1)
	}
	return nil
}

// patched reads the answer to a request that has sent the bytes up to end.
func (u *Upload) patched(resp *http.Response, end int64) error {
	if resp.StatusCode != http.StatusAccepted && resp.StatusCode != http.StatusNoContent &&
		resp.StatusCode != http.StatusCreated {
		return wire.NewStatusError(resp, u.host())
	}
	_ = resp.Body.Close() // there is nothing in it
	u.offset = end
	return u.took(resp)
}

// took reads from an answer how much the registry has, and where the upload goes on.
func (u *Upload) took(resp *http.Response) error {
	if resp.Header.Get("Location") != "" {
		at, err := u.to.repo.location(resp)
		if err != nil {
			return err
		}
		u.location = at
	}
	text := resp.Header.Get("Range")
	if text == "" {
		return nil
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || first != "0" || err != nil || n < 0 || n >= max(u.sent, 1) {
		return fmt.Errorf("%s says that it has bytes %q of an upload of which %d were sent", u.host(), printable.Clip(text),
			u.sent)
	}
	if u.offset = n + 1; n == 0 {
		u.offset = 0 // registries say 0-0 if they have nothing
		if u.sent == 1 {
			u.offset = 1
		}
	}
	return nil
}

// finish sends the request that ends the upload; a small blob is the body of it.
func (u *Upload) finish(ctx context.Context) error {
	at, err := withDigest(u.location, u.want.Digest)
	if err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	resp, err := u.put(ctx, request{http.MethodPut, at, header, u.want.Size, nil})
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusNoContent {
		return wire.NewStatusError(resp, u.host())
	}
	_ = resp.Body.Close() // there is nothing in it
	if got := resp.Header.Get("Docker-Content-Digest"); got != "" && got != u.want.Digest.String() {
		return fmt.Errorf("%s has taken %s as %q", u.host(), u.want.Digest, printable.Clip(got))
	}
	u.moved(u.want.Size)
	return nil
}

// progress resets the count of failures if the registry has more bytes than ever before.
func (u *Upload) progress() {
	if u.offset > u.best {
		u.best, u.failed = u.offset, 0
	}
}

// broken counts a failed request, waits, and finds out at which offset to go on. An error ends the upload.
func (u *Upload) broken(ctx context.Context, err error) error {
	if errors.As(err, new(*wire.LoginError)) {
		return err
	}
	u.failed++
	u.resumed++
	idle, over := u.meter.Idle()
	slow := new(patience.SlowError)
	if errors.As(err, &slow) {
		return fmt.Errorf("the upload of %s ended after %d of %d bytes: %w\nhint: %s", u.want.Digest, u.offset, u.want.Size,
			slow, wire.SlowHint)
	}
	if u.failed > wire.Fruitless || u.resumed > resumes || over {
		return fmt.Errorf("the upload of %s failed %d times, the last time after %d of %d bytes, and since then nothing was taken for %s: %w",
			u.want.Digest, u.failed, u.offset, u.want.Size, idle.Round(time.Second), err)
	}
	refused := new(wire.StatusError)
	if errors.As(err, &refused) {
		if err := u.refused(refused); err != nil {
			return err
		}
	}
	if u.begun > restarts {
		return fmt.Errorf("the upload of %s was begun %d times and lost each time: %w", u.want.Digest, u.begun, err)
	}
	if refused.Code != http.StatusUnauthorized {
		if err := u.to.pace.PauseFor(ctx, u.failed, refused.After); err != nil {
			return err
		}
	}
	if u.location != "" && refused.Code != http.StatusUnauthorized {
		u.ask(ctx)
		u.progress()
	}
	if u.location == "" && u.sent >= u.want.Size { // perhaps only the answer was lost, and the registry has the blob
		u.there, _ = u.to.Has(ctx, u.want)
	}
	return nil
}

// refused changes the upload so that a request that the registry has refused may succeed in another form. An error says
// that there is no other form.
func (u *Upload) refused(e *wire.StatusError) error {
	switch e.Code {
	case http.StatusRequestEntityTooLarge:
		if min(u.piece, u.want.Size) <= max(leastPiece, u.least) {
			return e
		}
		u.piece = max(min(u.piece, u.want.Size)/4, leastPiece, u.least)
		u.failed = 0
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		if u.whole {
			return e
		}
		u.whole, u.location = true, ""
	case http.StatusBadRequest, http.StatusNotFound, http.StatusRequestedRangeNotSatisfiable, http.StatusConflict,
		http.StatusGone:
		if u.location == "" {
			return e
		}
		u.location, u.offset = "", 0 // the registry has lost the upload, or has damaged data
	case http.StatusUnauthorized:
		if u.failed > 2 { // the first time another request may have renewed what has ended meanwhile
			return e
		}
	case http.StatusTooManyRequests, http.StatusRequestTimeout:
	default:
		if e.Code < http.StatusInternalServerError {
			return e
		}
	}
	return nil
}

// ask asks the registry how many bytes it has. If it doesn't say, the upload counts as lost.
func (u *Upload) ask(ctx context.Context) {
	start := u.to.pace.Now()
	resp, err := u.to.repo.do(ctx, u.to.repo.auth, call{method: http.MethodGet, at: u.location})
	u.meter.Connect(u.to.pace.Now().Sub(start))
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusAccepted {
			if err := u.took(resp); err == nil && resp.Header.Get("Range") != "" {
				return
			}
		}
	}
	u.location, u.offset = "", 0
}
