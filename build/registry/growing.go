package registry

import (
	"context"
	"math"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/internal/patience"
)

// Growing is the content of a blob that is still being made. It is safe for concurrent use.
type Growing interface {
	// ReadAt reads what there is.
	ReadAt(p []byte, at int64) (int, error)
	// Await waits until there are more than n bytes, or all. It gives how many there are and, when these are all, the
	// description of the blob.
	Await(ctx context.Context, n int64) (have int64, whole *ocispec.Descriptor, err error)
}

// Stream uploads a blob while it is made: in one request without a length, since there are registries that take no
// blob in several. It returns when the blob is whole; [Upload.Send] with the same content then ends the upload, and
// sends what a request that failed has left to be sent. A blob that turns out to be small is left to Send.
func (d *Destination) Stream(ctx context.Context, content Growing, moved func(done int64)) (_ *Upload, err error) {
	u := &Upload{to: d, content: content, moved: moved, meter: patience.NewMeter(d.pace.Limits)}
	defer func() {
		if err != nil {
			u.Cancel(ctx)
		}
	}()
	_, whole, err := content.Await(ctx, smallBlob)
	if err != nil {
		return nil, err
	}
	var failed error
	if whole == nil {
		failed = u.stream(ctx, content)
		if _, whole, err = content.Await(ctx, math.MaxInt64); err != nil {
			return nil, err
		}
	}
	u.want, u.piece = *whole, max(1, whole.Size)
	if failed != nil {
		return u, u.broken(ctx, failed)
	}
	return u, nil
}

// stream begins an upload and sends the content while it is made.
func (u *Upload) stream(ctx context.Context, content Growing) error {
	if err := u.open(ctx); err != nil {
		return err
	}
	header := http.Header{"Content-Type": {"application/octet-stream"}}
	resp, err := u.put(ctx, request{http.MethodPatch, u.location, header, 0, content})
	if err != nil {
		return err
	}
	return u.patched(resp, u.sent)
}
