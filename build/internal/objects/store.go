package objects

import (
	"context"
	"errors"
	"fmt"
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/sharedcache"
)

// Blobs are kept by their digests.
type Blobs interface {
	// Has tells whether a blob is there.
	Has(ctx context.Context, d ocispec.Descriptor) (bool, error)
	// Get opens a blob, unverified; the error is content.ErrNotFound if there is none. The caller closes it.
	Get(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error)
	// Put brings a blob there.
	Put(ctx context.Context, d ocispec.Descriptor, from io.ReaderAt) error
}

// Head is the one text of a store that can change.
type Head interface {
	// Head reads the text, which has at most limit bytes; the error is content.ErrNotFound if there is none. The mark says
	// which text it was, also if there was none.
	Head(ctx context.Context, limit int64) (text []byte, mark Mark, err error)
	// SetHead replaces the text that had a mark when it was read. The error is [ErrChanged] if the store knows that it is
	// another one by now.
	SetHead(ctx context.Context, text []byte, mark Mark) error
}

// Store keeps blobs and a head.
type Store interface {
	Blobs
	Head
}

// Mark says which head was read; what is in it is the store's affair. The zero value is the one of no head.
type Mark string

// ErrChanged says that another writer has replaced the head meanwhile.
var ErrChanged = errors.New("another writer has replaced it")

// Open gives the store of a spec of type HTTP, S3 or GHA. It sends no request.
func Open(spec sharedcache.Spec) (Store, error) {
	switch spec.Type {
	case sharedcache.HTTP:
		return newPlain(spec)
	case sharedcache.S3:
		return newBucket(spec)
	case sharedcache.GHA:
		return newService(spec)
	}
	return nil, fmt.Errorf("type=%s is no store of objects", spec.Type)
}
