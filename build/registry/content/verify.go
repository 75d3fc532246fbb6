package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/internal/printable"
)

// ErrNotFound is behind errors that say that a registry or layout has no such image or blob.
var ErrNotFound = errors.New("not found")

// Fetcher opens manifests and blobs by their descriptors. Callers must read them through [Verify].
type Fetcher interface {
	// Fetch opens the content that a descriptor names. The caller closes it.
	Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
}

// sizeError says that content hasn't the size in its descriptor, or that this size is impossible.
type sizeError struct {
	d ocispec.Descriptor
	// has is the actual number of bytes as text; empty: unknown.
	has string
}

// SizeIs is the error about content that has another size, in bytes, than its descriptor says.
func SizeIs(d ocispec.Descriptor, size int64) error {
	return &sizeError{d, strconv.FormatInt(size, 10)}
}

func (e *sizeError) Error() string {
	text := fmt.Sprintf("the descriptor of %s says that it has %d bytes", printable.Clip(e.d.Digest.String()), e.d.Size)
	if e.has != "" {
		text += fmt.Sprintf(", and it has %s", e.has)
	}
	return text + "\nhint: the image is damaged or was changed: make it again, or don't trust it"
}

// checkSizes refuses descriptors with an impossible size.
func checkSizes(all ...ocispec.Descriptor) error {
	for _, d := range all {
		if d.Size < 0 {
			return &sizeError{d: d}
		}
	}
	return nil
}

// Verify reads content and gives io.EOF only if all of it has the size and digest of its descriptor: whoever has not
// read io.EOF must throw away what came.
func Verify(r io.Reader, d ocispec.Descriptor) (io.Reader, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", printable.Clip(d.Digest.String()), err)
	}
	if d.Size < 0 {
		return nil, &sizeError{d: d}
	}
	return &verifier{from: r, want: d, left: d.Size, digest: d.Digest.Algorithm().Digester()}, nil
}

type verifier struct {
	from   io.Reader
	want   ocispec.Descriptor
	left   int64
	digest digest.Digester
	done   error
}

func (v *verifier) Read(p []byte) (int, error) {
	if v.done != nil {
		return 0, v.done
	}
	if v.left == 0 {
		v.done = v.finish()
		return 0, v.done
	}
	n, err := v.from.Read(p[:min(int64(len(p)), v.left)])
	v.left -= int64(n)
	v.digest.Hash().Write(p[:n])
	if errors.Is(err, io.EOF) && v.left > 0 {
		err = SizeIs(v.want, v.want.Size-v.left)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		v.done = err
		return n, err
	}
	return n, nil
}

// finish returns an error if content follows after the expected size, or if the digest is wrong.
func (v *verifier) finish() error {
	var more [1]byte
	for {
		n, err := v.from.Read(more[:])
		if n > 0 {
			return &sizeError{v.want, "more"}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if got := v.digest.Digest(); got != v.want.Digest {
		return fmt.Errorf("%s: what came has digest %s", v.want.Digest, got)
	}
	return io.EOF
}

// ReadAll reads and verifies content that is at most limit bytes long.
func ReadAll(ctx context.Context, src Fetcher, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, fmt.Errorf("%s has %d bytes, more than %d are not read", d.Digest, d.Size, limit)
	}
	rc, err := src.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	verified, err := Verify(rc, d)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(verified)
}
