package estargz

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/opencontainers/go-digest"
)

const (
	// chunk is how many bytes of a file a member has at most.
	chunk = 4 << 20
	// tableName is the name that the table has in the archive.
	tableName = "stargz.index.json"
)

// Layer is what a layer was compressed to.
type Layer struct {
	// DiffID and Size are those of the layer with its table, uncompressed; Table is the digest of the table.
	DiffID, Table digest.Digest
	Size          int64
}

// Pack compresses the archive of a layer to dst.
func Pack(dst io.Writer, archive io.Reader, level int) (Layer, error) {
	z, err := gzip.NewWriterLevel(io.Discard, level)
	if err != nil {
		return Layer{}, err
	}
	p := &packer{dst: dst, zip: z, sum: sha256.New(), table: table{Version: 1, Entries: []entry{}}}
	if err := p.archive(archive); err != nil {
		return Layer{}, err
	}
	if err := p.end(); err != nil {
		return Layer{}, err
	}
	return Layer{DiffID: digest.NewDigest(digest.SHA256, p.sum), Table: p.digest, Size: p.size}, nil
}

// packer writes one blob.
type packer struct {
	dst     io.Writer
	written int64
	zip     *gzip.Writer
	// open tells whether a member is being written.
	open bool
	// sum and size are of what was written, uncompressed.
	sum    hash.Hash
	size   int64
	table  table
	digest digest.Digest
}

// blob is the writer to the blob; it counts.
type blob struct{ *packer }

func (b blob) Write(text []byte) (int, error) {
	n, err := b.dst.Write(text)
	b.written += int64(n)
	return n, err
}

// Write compresses more of the archive, in a new member if none is open.
func (p *packer) Write(text []byte) (int, error) {
	if !p.open {
		p.zip.Reset(blob{p})
		p.open = true
	}
	p.sum.Write(text)
	p.size += int64(len(text))
	return p.zip.Write(text)
}

// cut ends the member that is open. What is written next begins another one.
func (p *packer) cut() error {
	if !p.open {
		return nil
	}
	p.open = false
	return p.zip.Close()
}

// archive compresses the archive byte for byte, with a new member where the data of a file begins. What lies between
// the files goes on in the member of the last chunk.
func (p *packer) archive(from io.Reader) error {
	raw := &between{from: from}
	archive := tar.NewReader(raw)
	for {
		raw.keeps = true
		h, err := archive.Next()
		raw.keeps = false
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read archive: %w", err)
		}
		if _, failed := p.Write(raw.take()); failed != nil {
			return failed
		}
		if err != nil {
			break
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		e, err := describe(h)
		if err != nil {
			return err
		}
		if err := p.file(e, archive); err != nil {
			return err
		}
	}
	_, err := io.Copy(p, from)
	return err
}

// between reads an archive and keeps, while it is told to, what it reads: headers, and what fills the blocks of files.
// A reader of archives reads no further than the header that it gives.
type between struct {
	from  io.Reader
	keeps bool
	kept  []byte
}

// Read implements io.Reader.
func (b *between) Read(text []byte) (int, error) {
	n, err := b.from.Read(text)
	if b.keeps {
		b.kept = append(b.kept, text[:n]...)
	}
	return n, err
}

// take gives what was kept, until the next call of Read.
func (b *between) take() []byte {
	kept := b.kept
	b.kept = b.kept[:0]
	return kept
}

// file compresses the data of a file and adds its entries to the table.
func (p *packer) file(e entry, data io.Reader) error {
	first, whole := len(p.table.Entries), sha256.New()
	p.table.Entries = append(p.table.Entries, e)
	for at, left := int64(0), e.Size; left > 0; {
		if err := p.cut(); err != nil {
			return err
		}
		if at > 0 {
			p.table.Entries = append(p.table.Entries, entry{Name: e.Name, Type: "chunk"})
		}
		n, part := min(left, chunk), sha256.New()
		c := &p.table.Entries[len(p.table.Entries)-1]
		c.Offset, c.ChunkOffset = p.written, at
		if left > n {
			c.ChunkSize = n
		}
		if _, err := io.CopyN(io.MultiWriter(p, whole, part), data, n); err != nil {
			return fmt.Errorf("read %q: %w", e.Name, err)
		}
		c.ChunkDigest = digest.NewDigest(digest.SHA256, part).String()
		at, left = at+n, left-n
	}
	if e.Type == "reg" {
		p.table.Entries[first].Digest = digest.NewDigest(digest.SHA256, whole).String()
	}
	return nil
}

// end writes the table, which is the one file of an archive in a member of its own, and where it begins.
func (p *packer) end() error {
	if err := p.cut(); err != nil {
		return err
	}
	begins := p.written
	text, err := p.table.text()
	if err != nil {
		return err
	}
	p.digest = digest.FromBytes(text)
	last := tar.NewWriter(p)
	if err := last.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: tableName, Size: int64(len(text))}); err != nil {
		return err
	}
	if _, err := last.Write(text); err != nil {
		return err
	}
	if err := errors.Join(last.Close(), p.cut()); err != nil {
		return err
	}
	_, err = blob{p}.Write(footer(begins))
	return err
}

// footer is an empty member whose extra field says where the table's member begins. Readers look for it by its length
// of 51 bytes.
func footer(begins int64) []byte {
	field := fmt.Sprintf("%016xSTARGZ", begins)
	extra := append([]byte{'S', 'G', byte(len(field)), 0}, field...)
	var b bytes.Buffer
	b.Write([]byte{0x1f, 0x8b, 8, 1 << 2, 0, 0, 0, 0, 0, 0xff, byte(len(extra)), 0})
	b.Write(extra)
	b.Write([]byte{1, 0, 0, 0xff, 0xff}) // one stored block of no bytes, the last one
	b.Write(make([]byte, 8))             // checksum and length of nothing
	return b.Bytes()
}
