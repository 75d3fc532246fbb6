// Package decompress reads streams that may be compressed with gzip, bzip2, xz or zstd, in bounded memory: what a
// hostile stream asks its reader to keep is refused beyond 128 MiB.
package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// bufferSize is how much of a stream is read at a time, in bytes.
	bufferSize = 128 << 10
	// maxWindow is the most memory that a stream may ask its reader to keep, in bytes: what xz -9e and zstd --long need,
	// and a bound for one that asks for gigabytes.
	maxWindow = 128 << 20
)

// Format is a way of compression.
type Format string

// The formats that are known. None is that of a stream that isn't compressed, as far as can be told.
const (
	None  Format = ""
	Gzip  Format = "gzip"
	Bzip2 Format = "bzip2"
	XZ    Format = "xz"
	Zstd  Format = "zstd"
)

// magicSize is how many bytes Recognize looks at.
const magicSize = 6

// Recognize tells the format of a stream that begins with head.
func Recognize(head []byte) Format {
	for _, f := range []struct {
		magic  string
		format Format
	}{{"\x1f\x8b", Gzip}, {"BZh", Bzip2}, {xzMagic, XZ}, {"\x28\xb5\x2f\xfd", Zstd}} {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.format
		}
	}
	// Parallel compressors begin with a frame that is to be skipped. RFC 8878, section 3.1.2.
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		return Zstd
	}
	return None
}

// Stream is what a stream is without its compression. Close gives back what the decoder holds; it doesn't close what is
// read from.
type Stream struct {
	io.Reader
	Format Format
	// Memory is about how many bytes the decoder keeps in memory while it decompresses.
	Memory int64

	free func()
}

// New recognizes the compression by content. A format that isn't known is read as it is.
func New(r io.Reader) (*Stream, error) {
	buffered := bufio.NewReaderSize(r, bufferSize)
	head, err := buffered.Peek(magicSize)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	s := &Stream{Reader: buffered, Format: Recognize(head), free: func() {}}
	switch s.Format {
	case Gzip:
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, err
		}
		s.Reader = z
	case Bzip2:
		s.Reader = bzip2.NewReader(buffered)
	case XZ:
		s.Reader = newXZReader(buffered)
	case Zstd:
		s.Memory = windowOf(buffered)
		z, err := zstd.NewReader(buffered, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		s.Reader, s.free = z, z.Close
	case None:
	}
	return s, nil
}

// usualWindow is the most that zstd keeps in memory unless it is told otherwise, in bytes.
const usualWindow = 8 << 20

// windowOf reads from a zstd stream's first frame how much its decoder keeps. Where that frame doesn't tell it is the
// usual.
func windowOf(r *bufio.Reader) int64 {
	head, _ := r.Peek(zstd.HeaderMaxSize)
	h := zstd.Header{}
	if h.Decode(head) != nil || h.Skippable {
		return usualWindow
	}
	return int64(min(h.WindowSize, maxWindow))
}

// Close frees the decoder; the stream can't be read any more.
func (s *Stream) Close() { s.free() }

// IsDamage tells whether the error of a Read says that the stream isn't what was once compressed: a checksum that is
// wrong, or an end too early.
func IsDamage(err error) bool {
	var bz bzip2.StructuralError
	return errors.Is(err, gzip.ErrChecksum) || errors.Is(err, errXZ) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, zstd.ErrCRCMismatch) || errors.As(err, &bz) && bytes.Contains([]byte(bz), []byte("checksum"))
}
