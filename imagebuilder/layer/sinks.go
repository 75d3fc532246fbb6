package layer

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/blake3"

	"github.com/cooperbuild/cooper/internal/tarsplit"
)

// diffIDSink computes the diffID: the SHA-256 of the whole stream, and its length in bytes.
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

// tarSink writes the stream to Options.Tar.
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
	// contentDomain begins the hash of every content digest, so that none equals a digest of another kind, or one made
	// with another version of the encoding.
	contentDomain = "cooper layer content 2\x00"
	// contentPiece is how many bytes are hashed at a time, so few that the processor's first-level cache still holds them
	// for the second hash.
	contentPiece = 32 << 10
	// LargeFileSize is the least size in bytes of a file whose data gets a digest of its own. That digest takes the place
	// of the data in the content digest, and Options.LargeFile is told of it.
	LargeFileSize = 1 << 20
)

// contentSink computes the content digest, and writes tar-split JSON if split isn't nil.
type contentSink struct {
	hash  *blake3.Hasher
	split *tarsplit.Writer
	left  int64  // bytes of the current entry's data that haven't come yet
	crc   uint64 // CRC-64 of the current entry's data so far, for tar-split
	name  []byte // name of the current entry
	size  int64  // size of the current entry in bytes
	// large hashes the data of the current entry if its size is LargeFileSize or more. largeFile is Options.LargeFile.
	large     *blake3.Hasher
	largeFile func(name string, sum [32]byte)
	// sums is Options.Sums. claimed is what is made of the current entry's data for others as well, given what others make
	// of it: then the data isn't looked at.
	sums           *Sums
	claimed, given *fileSum
	// waitFor waits until others have made it.
	waitFor func(*fileSum) error
}

var _ sink = (*contentSink)(nil)

// newContentSink makes the sink that o asks for. The caller closes it when nothing consumes any more.
func newContentSink(ctx context.Context, o *Options) *contentSink {
	s := &contentSink{hash: blake3.New(), large: blake3.New(), largeFile: o.LargeFile}
	s.waitFor = func(f *fileSum) error { return f.wait(ctx) }
	_, _ = s.hash.WriteString(contentDomain) // a hash never fails
	if o.TarSplit != nil {
		s.split, s.sums = tarsplit.NewWriter(o.TarSplit), o.Sums
	}
	return s
}

// close tells others that a file wasn't read to its end.
func (s *contentSink) close() { s.settle(false) }

// settle ends the claim on the current entry, if there is one.
func (s *contentSink) settle(ok bool) {
	if s.claimed == nil {
		return
	}
	s.claimed.ok = ok
	close(s.claimed.done)
	s.claimed = nil
}

func (s *contentSink) consume(c *chunk) error {
	buf, meta := c.buf, c.meta
	for _, o := range c.ops {
		var err error
		switch o.kind {
		case opFrame:
			if s.split != nil {
				s.split.Frame(buf[:o.n])
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
	s.given = nil
	if s.sums != nil && o.file != nil {
		if sum, mine := s.sums.claim(o.file); mine {
			s.claimed = sum
		} else {
			s.given = sum
		}
	}
	if s.split == nil {
		return nil
	}
	if err := s.split.Segment(); err != nil {
		return err
	}
	if o.size == 0 {
		return s.split.File(s.name, 0, 0)
	}
	return nil
}

// into gives the hash that the current entry's data goes into: large for a large file, else that of the content digest.
func (s *contentSink) into() *blake3.Hasher {
	if s.size >= LargeFileSize {
		return s.large
	}
	return s.hash
}

func (s *contentSink) data(p []byte) error {
	s.left -= int64(len(p))
	if s.given != nil {
		return s.added()
	}
	into := s.into()
	for len(p) > 0 {
		piece := p[:min(len(p), contentPiece)]
		p = p[len(piece):]
		if s.split != nil {
			s.crc = tarsplit.CRC(s.crc, piece)
		}
		_, _ = into.Write(piece)
	}
	return s.added()
}

// zeros does what data does, for n bytes that are zero.
func (s *contentSink) zeros(n int64) error {
	s.left -= n
	if s.given != nil {
		return s.added()
	}
	if s.split != nil {
		s.crc = tarsplit.Zeros(s.crc, n)
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
		if err := s.endLarge(); err != nil {
			return err
		}
	}
	if s.split == nil {
		return nil
	}
	return s.split.File(s.name, s.size, s.crc)
}

// endLarge adds the digest of a large file's data to the content digest, in place of the data.
func (s *contentSink) endLarge() error {
	var sum [32]byte
	if s.given == nil {
		s.large.Sum(sum[:0])
		s.large.Reset()
	} else {
		if err := s.waitFor(s.given); err != nil {
			return fmt.Errorf("read %q: %w", s.name, err)
		}
		sum, s.crc = s.given.sum, s.given.crc
	}
	if s.claimed != nil {
		s.claimed.sum, s.claimed.crc = sum, s.crc
		s.settle(true)
	}
	_, _ = s.hash.Write(sum[:])
	if s.largeFile != nil {
		s.largeFile(string(s.name), sum)
	}
	return nil
}

func (s *contentSink) finish() error {
	if s.split == nil {
		return nil
	}
	if err := s.split.Segment(); err != nil {
		return fmt.Errorf("write tar-split: %w", err)
	}
	if err := s.split.Close(); err != nil {
		return fmt.Errorf("write tar-split: %w", err)
	}
	return nil
}

// digest gives the SHA-256 of the BLAKE3 hash: package digest knows SHA-256, but not BLAKE3.
func (s *contentSink) digest() digest.Digest {
	return digest.FromBytes(s.hash.Sum([]byte(contentDomain)))
}

// appendCanonical appends the encoding of an entry for the content digest: every field but the time. Strings and lists
// are preceded by their lengths, so that different entries have different encodings. In the hash the entry's data
// follows, or the digest of the data if the size, which is in the encoding, is LargeFileSize or more.
func appendCanonical(dst []byte, e *entry) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(e.name))) // the name comes first: contentSink reads it from the encoding
	dst = append(dst, e.name...)
	dst = append(dst, e.typ)
	for _, v := range [...]uint32{e.mode, e.uid, e.gid, e.major, e.minor} {
		dst = le.AppendUint32(dst, v)
	}
	dst = appendString(dst, e.link)
	dst = le.AppendUint32(dst, uint32(len(e.xattrs)))
	for _, x := range e.xattrs {
		dst = appendString(dst, x.Name)
		dst = appendString(dst, x.Value)
	}
	return le.AppendUint64(dst, uint64(e.size))
}

func appendString(dst []byte, s string) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}
