package export

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/storage/pkg/chunked/compressor"
)

const (
	// gzipBlock is how many bytes one thread compresses at a time. The output depends on it, so it is a constant. Blocks
	// eight times as large compress 0.15 % better and need twice the memory.
	gzipBlock = 128 << 10
	// gzipAhead is how many blocks wait or are compressed for each thread: the first one is written once it is ready, and
	// those behind it must not wait for that.
	gzipAhead = 4
	// zstdWindow is how far back, in bytes, zstd looks for what it has met before. A thread takes four times as much at a
	// time, and as much again waits for it: twice the window compresses 0.5 % better and needs twice the memory.
	zstdWindow = 1 << 20
	zstdBlock  = 4 * zstdWindow
	copyBuffer = 256 << 10
	// gzipLevel and zstdLevel are what they compress with if no level is said.
	gzipLevel = 6
	zstdLevel = 3
)

// Codec says how layers are compressed.
type Codec struct {
	Kind Compression
	// Level is as in [Spec].
	Level int
}

// MediaType gives the media type of a layer in OCI's format.
func (c Codec) MediaType() string {
	switch c.Kind {
	case Gzip, EStargz:
		return ocispec.MediaTypeImageLayerGzip
	case Zstd, ZstdChunked:
		return ocispec.MediaTypeImageLayerZstd
	}
	return ocispec.MediaTypeImageLayer
}

// tableDigest is the annotation by which a blob of zstd:chunked is known.
const tableDigest = "io.github.containers.zstd-chunked.manifest-checksum"

// Makes tells whether a blob is compressed as the codec does it, at whatever level.
func (c Codec) Makes(d ocispec.Descriptor) bool {
	return d.MediaType == c.MediaType() && (c.Kind != ZstdChunked || d.Annotations[tableDigest] != "") &&
		(c.Kind != EStargz || d.Annotations[stargzTable] != "")
}

// Threads gives the number n of threads that compress a layer of size bytes, and the number of all threads: a large
// layer has all of them to itself, small layers share them, and those in zstd:chunked come one after the other.
func (c Codec) Threads(size int64) (n, all int) {
	all = min(runtime.GOMAXPROCS(0), maxThreads)
	switch c.Kind {
	case Zstd:
		all = min(all, maxZstdThreads)
	case ZstdChunked:
		all = 1 // its library takes two threads a layer, and 80 MiB
	}
	if c.Kind == Gzip && size > smallLayer || c.Kind == Zstd && size > zstdBlock {
		return all, all
	}
	return 1, all
}

// writer makes the compressor. The caller must always close it, since that ends its goroutines; then notes has the
// annotations of the blob.
func (c Codec) writer(dst io.Writer, notes map[string]string, threads int) (io.WriteCloser, error) {
	switch c.Kind {
	case EStargz:
		return newStargz(dst, notes, cmp.Or(c.Level, gzipLevel)), nil
	case Gzip:
		z, err := pgzip.NewWriterLevel(dst, cmp.Or(c.Level, gzipLevel))
		if err != nil {
			return nil, err
		}
		// The zero time isn't 0 in a gzip header.
		z.ModTime = time.Unix(0, 0)
		return z, z.SetConcurrency(gzipBlock, gzipAhead*threads)
	case Zstd:
		// With one thread the library compresses in another way, and to other bytes.
		return zstd.NewWriter(dst,
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(cmp.Or(c.Level, zstdLevel))), zstd.WithWindowSize(zstdWindow),
			zstd.WithConcurrentBlocks(true), zstd.WithEncoderConcurrency(max(threads, 2)),
			zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
	}
	if c.Kind == ZstdChunked {
		level := cmp.Or(c.Level, zstdLevel)
		to := &breakable{Writer: dst}
		w, err := compressor.ZstdCompressor(to, notes, &level)
		return chunked{w, to}, err
	}
	return nopCloser{dst}, nil
}

// chunked is the compressor of zstd:chunked. Given a part of a tar stream it would go on without end.
type chunked struct {
	io.WriteCloser
	to *breakable
}

// breakable is a writer that fails once it is broken.
type breakable struct {
	io.Writer
	broken atomic.Bool
}

func (b *breakable) Write(p []byte) (int, error) {
	if b.broken.Load() {
		return 0, errIncomplete
	}
	return b.Writer.Write(p)
}

// errIncomplete ends the compression of a layer that can't be read to its end.
var errIncomplete = errors.New("the layer is incomplete")

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Pack writes the layer to dst, compressed by that many threads, and gives the descriptor of the blob that it wrote.
// ErrDigest means that the layer hasn't got its DiffID or size; the blob must be thrown away then.
func (c Codec) Pack(ctx context.Context, layer Blob, dst io.Writer, threads int) (ocispec.Descriptor, error) {
	out := &measure{dst: dst, hash: sha256.New()}
	notes := map[string]string{}
	w, err := c.writer(out, notes, threads)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("compress layer %s: %w", layer.DiffID, err)
	}
	err = layer.copyTo(ctx, w, out)
	if c, is := w.(chunked); is && (err != nil || out.failure() != nil) {
		c.to.broken.Store(true)
	}
	// pgzip leaves a goroutine behind if its writer fails, so that measure only notes the failure, and Close is always
	// called.
	closeErr := w.Close()
	if failed := out.failure(); failed != nil {
		return ocispec.Descriptor{}, fmt.Errorf("write layer %s: %w", layer.DiffID, cause(failed))
	}
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if closeErr != nil {
		return ocispec.Descriptor{}, fmt.Errorf("compress layer %s: %w", layer.DiffID, closeErr)
	}
	d := ocispec.Descriptor{MediaType: c.MediaType(), Digest: digest.NewDigest(digest.SHA256, out.hash), Size: out.size}
	if len(notes) > 0 {
		d.Annotations = notes
	}
	return d, nil
}

// copyTo copies the layer to w and checks its size and digest on the way. It stops, without an error, when out has
// failed.
func (b Blob) copyTo(ctx context.Context, w io.Writer, out *measure) (err error) {
	r, err := b.Open()
	if err != nil {
		return fmt.Errorf("open layer %s: %w", b.DiffID, err)
	}
	defer func() {
		if closeErr := r.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("close layer %s: %w", b.DiffID, closeErr)
		}
	}()

	var (
		sum  = sha256.New()
		size int64
		buf  = make([]byte, min(copyBuffer, max(b.Size, 0)+1))
	)

	for {
		if ctx.Err() != nil {
			return fmt.Errorf("read layer %s: %w", b.DiffID, context.Cause(ctx))
		}
		n, readErr := r.Read(buf)
		size += int64(n)
		if size > b.Size {
			return fmt.Errorf("read layer %s: %w: it is longer than its %d bytes", b.DiffID, ErrDigest, b.Size)
		}

		sum.Write(buf[:n])
		if _, err := w.Write(buf[:n]); err != nil {
			return fmt.Errorf("compress layer %s: %w", b.DiffID, err)
		}
		if out.failure() != nil {
			return nil
		}
		if readErr == io.EOF {
			break
		}

		if readErr != nil {
			return fmt.Errorf("read layer %s: %w", b.DiffID, readErr)
		}
	}

	if size != b.Size {
		return fmt.Errorf("read layer %s: %w: it has %d bytes instead of %d", b.DiffID, ErrDigest, size, b.Size)
	}
	if got := digest.NewDigest(digest.SHA256, sum); got != b.DiffID {
		return fmt.Errorf("read layer %s: %w: it has %s", b.DiffID, ErrDigest, got)
	}

	return nil
}

// measure is a writer to dst that counts and digests the bytes. Its Write never fails; failure gives the first error of
// dst. One goroutine may write while another calls failure.
type measure struct {
	dst  io.Writer
	hash hash.Hash
	size int64

	mu  sync.Mutex
	err error
}

func (m *measure) Write(p []byte) (int, error) {
	if failed := m.failure() != nil; failed {
		return len(p), nil //nolint:nilerr // failure gives the error
	}
	m.hash.Write(p)
	m.size += int64(len(p))
	if _, err := m.dst.Write(p); err != nil {
		m.mu.Lock()
		m.err = err
		m.mu.Unlock()
	}
	return len(p), nil
}

func (m *measure) failure() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}
