package parcel

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/registry/content"
)

const (
	// ListingType is the media type of a listing.
	ListingType = "application/vnd.cooper.cache.mount.v1+zstd"
	// PackType is the media type of a pack.
	PackType = "application/vnd.cooper.cache.pack.v1+zstd"

	version = 1
	// packSize is how many bytes of chunks are put into a pack, but for the last; maxPack is what one may have at most.
	packSize, maxPack = 8 << 20, packSize + maxChunk
	// maxPacks is how many packs a parcel may have, maxListing how many bytes its listing.
	maxPacks   = 20_000
	maxListing = 64 << 20
	// maxHead is how many bytes the first line of a listing may have, decompressed.
	maxHead = 256 << 20
	// window bounds the memory that the decompression takes, in bytes.
	window = 8 << 20
)

// ErrDamaged is behind errors about parcels that can't be what was once written.
var ErrDamaged = errors.New("the cache mount is damaged")

// Parcel is a directory in blobs: the listing, then the packs.
type Parcel struct {
	Blobs []ocispec.Descriptor `json:"blobs"`
	// Size is how many bytes the archive of the directory has.
	Size int64 `json:"size"`
}

// Check refuses what no parcel is.
func (p Parcel) Check() error {
	if len(p.Blobs) == 0 || len(p.Blobs) > maxPacks || p.Size < 0 {
		return fmt.Errorf("%w: it has %d blobs", ErrDamaged, len(p.Blobs))
	}
	for i, d := range p.Blobs {
		want := PackType
		if i == 0 {
			want = ListingType
		}
		if err := d.Digest.Validate(); err != nil || d.Digest.Algorithm() != digest.SHA256 || d.Size < 0 ||
			d.MediaType != want {
			return fmt.Errorf("%w: its blob %d is none", ErrDamaged, i)
		}
	}
	return nil
}

// Compressed is how many bytes the blobs have.
func (p Parcel) Compressed() (size int64) {
	for _, d := range p.Blobs {
		size += d.Size
	}
	return size
}

// head is the first line of a listing. The lines that follow are the tar-split records of the archive.
type head struct {
	Version int           `json:"version"`
	DiffID  digest.Digest `json:"diffID"`
	// Packs are the sizes of the packs' contents in bytes.
	Packs []int64 `json:"packs"`
	// Chunks are the bodies of all files, one after the other.
	Chunks []chunk `json:"chunks"`
}

// chunk is a part of a file.
type chunk struct {
	// Pack is the number of the pack, At and Size the place in its content.
	Pack int   `json:"p"`
	At   int64 `json:"a"`
	Size int64 `json:"n"`
	// Sum is the SHA-256 of the content.
	Sum sum `json:"s"`
}

type sum [32]byte

func (s sum) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, s[:]), nil }

func (s *sum) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(s)) {
		return errors.New("the sum of a chunk is none")
	}
	_, err := hex.Decode(s[:], text)
	return err
}

func (h head) check(packs int) error {
	if h.Version != version || len(h.Packs) != packs || h.DiffID.Validate() != nil {
		return fmt.Errorf("%w: its listing is of version %d and names %d packs", ErrDamaged, h.Version, len(h.Packs))
	}
	for _, size := range h.Packs {
		if size < 0 || size > maxPack {
			return fmt.Errorf("%w: a pack has %d bytes", ErrDamaged, size)
		}
	}
	for _, c := range h.Chunks {
		if c.Pack < 0 || c.Pack >= packs || c.At < 0 || c.Size <= 0 || c.Size > h.Packs[c.Pack]-c.At {
			return fmt.Errorf("%w: a chunk is not in its pack", ErrDamaged)
		}
	}
	return nil
}

// listing is one that is read; the reader stands behind the head. The caller calls close.
type listing struct {
	head
	*bufio.Reader
	close func()
}

// openListing reads the head of a parcel's listing. Of the rest it is known that it is what was written once it was
// read to its end.
func openListing(ctx context.Context, src content.Fetcher, p Parcel) (l listing, err error) {
	if err := p.Check(); err != nil {
		return l, err
	}
	if p.Blobs[0].Size > maxListing {
		return l, fmt.Errorf("%w: its listing has %d bytes", ErrDamaged, p.Blobs[0].Size)
	}
	rc, plain, err := openBlob(ctx, src, p.Blobs[0])
	if err != nil {
		return l, err
	}
	l.close = func() {
		plain.Close()
		_ = rc.Close() // it was only read
	}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	l.Reader = bufio.NewReader(plain)
	first := json.NewDecoder(io.LimitReader(l.Reader, maxHead))
	if err := first.Decode(&l.head); err != nil {
		return l, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	l.Reader = bufio.NewReader(io.MultiReader(first.Buffered(), l.Reader))
	return l, l.check(len(p.Blobs) - 1)
}

// openBlob opens a blob and its decompressed stream, which ends well only if the blob has its digest. The caller closes
// both.
func openBlob(ctx context.Context, src content.Fetcher, d ocispec.Descriptor) (io.Closer, *zstd.Decoder, error) {
	rc, err := src.Fetch(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	verified, err := content.Verify(rc, d)
	if err != nil {
		return nil, nil, errors.Join(err, rc.Close())
	}
	plain, err := zstd.NewReader(verified, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window),
		zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, nil, errors.Join(err, rc.Close())
	}
	return rc, plain, nil
}
