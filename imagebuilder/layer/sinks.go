package layer

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/blake3"
)

// diffIDSink hashes the stream.
type diffIDSink struct {
	hash hash.Hash
	size int64
}

var _ sink = (*diffIDSink)(nil)

func newDiffIDSink() *diffIDSink { return &diffIDSink{hash: sha256.New()} }

func (s *diffIDSink) consume(c *chunk) error {
	return c.pieces(func(p []byte) error {
		s.size += int64(len(p))
		_, err := s.hash.Write(p)
		return err
	})
}

func (s *diffIDSink) finish() error { return nil }

func (s *diffIDSink) digest() digest.Digest {
	return digest.NewDigest(digest.SHA256, s.hash)
}

// tarSink writes the stream.
type tarSink struct{ w io.Writer }

var _ sink = (*tarSink)(nil)

func (s *tarSink) consume(c *chunk) error {
	return c.pieces(func(p []byte) error {
		if _, err := s.w.Write(p); err != nil {
			return fmt.Errorf("write layer tar: %w", err)
		}
		return nil
	})
}

func (s *tarSink) finish() error { return nil }

const (
	// contentDomain separates content digests from all other uses of the hash, and from those of other versions of the
	// encoding.
	contentDomain = "cooper layer content 2\x00"
	// contentPiece is how much data is hashed at a time: small enough to be still in the nearest cache for the second
	// hash.
	contentPiece = 32 << 10
	// LargeFileSize is the size in bytes from which on a file's data has a digest of its own, which stands for the data in
	// the content digest and is told to Options.LargeFile.
	LargeFileSize = 1 << 20
)

// contentSink hashes what entries hold, and describes the stream as tar-split if split isn't nil.
type contentSink struct {
	hash  *blake3.Hasher
	split *splitWriter
	left  int64 // data of the current entry still to come
	crc   uint64
	name  []byte // of the current entry
	size  int64  // of the current entry
	// large digests the data of the current entry, if that is large; largeFile, if not nil, is told the digest.
	large     *blake3.Hasher
	largeFile func(name string, sum [32]byte)
}

var _ sink = (*contentSink)(nil)

func newContentSink(tarSplit io.Writer, largeFile func(name string, sum [32]byte)) *contentSink {
	s := &contentSink{hash: blake3.New(), large: blake3.New(), largeFile: largeFile}
	_, _ = s.hash.WriteString(contentDomain) // a hash never fails
	if tarSplit != nil {
		s.split = &splitWriter{w: bufio.NewWriterSize(tarSplit, 64<<10)}
	}
	return s
}

func (s *contentSink) consume(c *chunk) error {
	buf, meta := c.buf, c.meta
	for _, o := range c.ops {
		var err error
		switch o.kind {
		case opFrame:
			if s.split != nil {
				s.split.frame(buf[:o.n])
			}
			buf = buf[o.n:]
		case opData:
			err = s.data(buf[:o.n])
			buf = buf[o.n:]
		case opHole:
			err = s.zeros(int64(o.n))
		case opEntry:
			err = s.entry(meta[:o.n], o)
			meta = meta[o.n:]
		}
		if err != nil {
			return fmt.Errorf("write tar-split: %w", err)
		}
	}
	return nil
}

func (s *contentSink) entry(canonical []byte, o op) error {
	_, _ = s.hash.Write(canonical)
	s.left, s.size, s.crc = o.size, o.size, 0
	s.name = append(s.name[:0], canonical[4:4+o.name]...)
	if s.split == nil {
		return nil
	}
	if err := s.split.segment(); err != nil {
		return err
	}
	if o.size == 0 {
		return s.split.file(s.name, 0, 0)
	}
	return nil
}

// into is the hash of the current entry's data.
func (s *contentSink) into() *blake3.Hasher {
	if s.size >= LargeFileSize {
		return s.large
	}
	return s.hash
}

func (s *contentSink) data(p []byte) error {
	s.left -= int64(len(p))
	into := s.into()
	for len(p) > 0 {
		piece := p[:min(len(p), contentPiece)]
		p = p[len(piece):]
		if s.split != nil {
			s.crc = crcISO(s.crc, piece)
		}
		_, _ = into.Write(piece)
	}
	return s.added()
}

// zeros is data for n zeros.
func (s *contentSink) zeros(n int64) error {
	s.left -= n
	if s.split != nil {
		s.crc = crcZeros(s.crc, n)
	}
	into, zeros := s.into(), make([]byte, holePiece)
	for ; n > 0; n -= holePiece {
		_, _ = into.Write(zeros[:min(n, holePiece)])
	}
	return s.added()
}

// added ends the current entry if all of its data has come.
func (s *contentSink) added() error {
	if s.left > 0 {
		return nil
	}
	if s.size >= LargeFileSize {
		s.endLarge()
	}
	if s.split == nil {
		return nil
	}
	return s.split.file(s.name, s.size, s.crc)
}

// endLarge puts the digest of a large file's data in the place of the data.
func (s *contentSink) endLarge() {
	var sum [32]byte
	s.large.Sum(sum[:0])
	s.large.Reset()
	_, _ = s.hash.Write(sum[:])
	if s.largeFile != nil {
		s.largeFile(string(s.name), sum)
	}
}

func (s *contentSink) finish() error {
	if s.split == nil {
		return nil
	}
	if err := s.split.segment(); err != nil {
		return fmt.Errorf("write tar-split: %w", err)
	}
	if err := s.split.w.Flush(); err != nil {
		return fmt.Errorf("write tar-split: %w", err)
	}
	return nil
}

// digest wraps the fast hash in SHA-256, since that is what everybody who checks a digest knows.
func (s *contentSink) digest() digest.Digest {
	return digest.FromBytes(s.hash.Sum([]byte(contentDomain)))
}

// appendCanonical appends the encoding of an entry that content digests are made of: every field but the time, strings
// and lists preceded by their lengths, so that no two different entries look alike. The entry's data follows it in the
// hash, or the digest of that if there is much of it: the size, which comes before, tells which.
func appendCanonical(dst []byte, e *entry) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(e.name))) // first, since contentSink takes the name from here
	dst = append(dst, e.name...)
	dst = append(dst, e.typ)
	for _, v := range [...]uint32{e.mode, e.uid, e.gid, e.major, e.minor} {
		dst = le.AppendUint32(dst, v)
	}
	dst = appendString(dst, e.link)
	dst = le.AppendUint32(dst, uint32(len(e.xattrs)))
	for _, x := range e.xattrs {
		dst = appendString(dst, x.name)
		dst = appendString(dst, x.value)
	}
	return le.AppendUint64(dst, uint64(e.size))
}

func appendString(dst []byte, s string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}
