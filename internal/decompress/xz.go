package decompress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzMagic begins an xz stream (The .xz File Format 1.1.0, section 2.1.1.1).
const xzMagic = "\xfd7zXZ\x00"

// errXZ is the cause of every error about a damaged or unsupported xz file.
var errXZ = errors.New("invalid xz data")

// xzReader reads the container format, and leaves the data to an LZMA2 decoder. The library's own reader of the
// container allocates whatever dictionary a block asks for, up to 4 GiB; this one has a bound.
type xzReader struct {
	in *countingReader
	// block is the open block's data, nil between blocks; check is what its content should be, if it can be checked.
	block      io.Reader
	blockStart int64
	check      hash.Hash
	checkSize  int
	started    bool
	err        error
}

func newXZReader(r io.Reader) *xzReader {
	return &xzReader{in: &countingReader{r: bufio.NewReaderSize(r, bufferSize)}}
}

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for x.err == nil {
		if x.block == nil {
			x.err = x.next()
			continue
		}
		n, err := x.block.Read(p)
		if x.check != nil {
			_, _ = x.check.Write(p[:n])
		}
		if errors.Is(err, io.EOF) {
			err = x.endBlock()
		}
		x.err = err
		if n > 0 {
			return n, nil
		}
	}
	return 0, x.err
}

// next opens the next block, through the ends of streams.
func (x *xzReader) next() error {
	if !x.started {
		return x.streamHeader()
	}
	x.blockStart = x.in.n
	size, err := x.in.ReadByte()
	if err != nil {
		return unexpected(err)
	}
	if size == 0 {
		return x.endStream()
	}
	return x.blockHeader(size)
}

// streamHeader reads the 12 bytes that begin a stream, after the padding that may follow another. The end of the file
// is io.EOF.
func (x *xzReader) streamHeader() error {
	var head [12]byte
	for {
		if _, err := io.ReadFull(x.in, head[:4]); err != nil {
			return err
		}
		if head[0] != 0 || x.in.n == 4 {
			break
		}
	}
	if _, err := io.ReadFull(x.in, head[4:]); err != nil {
		return unexpected(err)
	}
	if !bytes.HasPrefix(head[:], []byte(xzMagic)) ||
		binary.LittleEndian.Uint32(head[8:]) != crc32.ChecksumIEEE(head[6:8]) {
		return fmt.Errorf("%w: stream header", errXZ)
	}
	if head[6] != 0 || head[7] > 15 {
		return fmt.Errorf("%w: unknown flags", errXZ)
	}
	x.checkSize = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[head[7]]
	x.check = map[byte]hash.Hash{1: crc32.NewIEEE(), 4: crc64.New(crc64.MakeTable(crc64.ECMA)), 10: sha256.New()}[head[7]]
	x.started = true
	return nil
}

// blockHeader reads the rest of a block's header and opens its data.
func (x *xzReader) blockHeader(size byte) error {
	head := make([]byte, (int(size)+1)*4)
	head[0] = size
	if _, err := io.ReadFull(x.in, head[1:]); err != nil {
		return unexpected(err)
	}
	body, sum := head[:len(head)-4], head[len(head)-4:]
	if binary.LittleEndian.Uint32(sum) != crc32.ChecksumIEEE(body) {
		return fmt.Errorf("%w: block header", errXZ)
	}
	flags, rest := body[1], bytes.NewReader(body[2:])
	for _, present := range []byte{0x40, 0x80} {
		if flags&present == 0 {
			continue
		}
		if _, err := binary.ReadUvarint(rest); err != nil {
			return fmt.Errorf("%w: block header", errXZ)
		}
	}
	var filter [3]byte
	_, err := io.ReadFull(rest, filter[:])
	if err != nil || flags&0x3f != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return fmt.Errorf("%w: filters other than LZMA2 aren't supported", errXZ)
	}
	dict, err := lzma.DecodeDictCap(filter[2])
	if err != nil {
		return fmt.Errorf("%w: dictionary size", errXZ)
	}
	if dict > maxWindow {
		return fmt.Errorf("%w: it needs a dictionary of %d MiB, more than %d", errXZ, dict>>20, maxWindow>>20)
	}
	x.block, err = lzma.Reader2Config{DictCap: max(int(dict), lzma.MinDictCap)}.NewReader2(x.in)
	if err != nil {
		return fmt.Errorf("%w: %w", errXZ, err)
	}
	if x.check != nil {
		x.check.Reset()
	}
	return nil
}

// endBlock reads the padding and the check after a block's data.
func (x *xzReader) endBlock() error {
	x.block = nil
	var padding [4]byte
	if _, err := io.ReadFull(x.in, padding[:(4-(x.in.n-x.blockStart)%4)%4]); err != nil {
		return unexpected(err)
	}
	want := make([]byte, x.checkSize)
	if _, err := io.ReadFull(x.in, want); err != nil {
		return unexpected(err)
	}
	if x.check == nil {
		return nil
	}
	got := x.check.Sum(nil)
	if x.checkSize < sha256.Size {
		// CRCs are stored with the least significant byte first.
		for a, b := 0, len(got)-1; a < b; a, b = a+1, b-1 {
			got[a], got[b] = got[b], got[a]
		}
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("%w: checksum mismatch", errXZ)
	}
	return nil
}

// endStream reads index and footer. They say nothing that isn't known by now.
func (x *xzReader) endStream() error {
	records, err := binary.ReadUvarint(x.in)
	for n := uint64(0); err == nil && n < records; n++ {
		if _, err = binary.ReadUvarint(x.in); err == nil {
			_, err = binary.ReadUvarint(x.in)
		}
	}
	if err != nil {
		return unexpected(err)
	}
	var footer [3 + 4 + 12]byte
	padding := (4 - (x.in.n-x.blockStart)%4) % 4
	if _, err := io.ReadFull(x.in, footer[:padding+4+12]); err != nil {
		return unexpected(err)
	}
	if !bytes.HasSuffix(footer[:padding+4+12], []byte("YZ")) {
		return fmt.Errorf("%w: stream footer", errXZ)
	}
	x.started = false
	return nil
}

// unexpected turns an end of file in the middle of something into what it is.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// countingReader counts what is taken from it.
type countingReader struct {
	r *bufio.Reader
	n int64
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadByte implements io.ByteReader: the decoder takes byte after byte, and not one too many.
func (c *countingReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}
