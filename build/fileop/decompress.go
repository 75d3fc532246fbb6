package fileop

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/bzip2"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// bufferSize is how much of an archive is read at a time, in bytes.
	bufferSize = 128 << 10
	// maxWindow is the most memory that a compressed archive may ask its reader to keep, in bytes: what xz -9e and
	// zstd --long need, and a bound for one that asks for gigabytes.
	maxWindow = 128 << 20
	// sniffSize is what the format is recognised by: the magic of a tar header is at 257.
	sniffSize = 512
)

// format is a compression, recognised by its magic number. open gives a reader, and a function that frees what it
// holds.
type format struct {
	magic string
	open  func(io.Reader) (io.Reader, func(), error)
}

func formats() []format {
	all := []format{
		{"\x1f\x8b", openGzip},
		{"BZh", openBzip2},
		{xzMagic, openXZ},
		{"\x28\xb5\x2f\xfd", openZstd},
	}
	// Parallel compressors begin with a frame that is to be skipped. RFC 8878, section 3.1.2.
	for first := byte(0x50); first <= 0x5f; first++ {
		all = append(all, format{string([]byte{first, 0x2a, 0x4d, 0x18}), openZstd})
	}
	return all
}

func openGzip(r io.Reader) (io.Reader, func(), error) {
	z, err := gzip.NewReader(r)
	return z, func() {}, err
}

func openBzip2(r io.Reader) (io.Reader, func(), error) {
	return bzip2.NewReader(r), func() {}, nil
}

func openXZ(r io.Reader) (io.Reader, func(), error) {
	return newXZReader(r), func() {}, nil
}

func openZstd(r io.Reader) (io.Reader, func(), error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

// decompress recognises the compression by content. The function it returns gives back what the reader holds.
func decompress(r io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(r, bufferSize)
	// A file shorter than this is recognised by what there is.
	head, _ := buffered.Peek(sniffSize)
	for _, f := range formats() {
		if bytes.HasPrefix(head, []byte(f.magic)) {
			return f.open(buffered)
		}
	}
	return buffered, func() {}, nil
}

// isArchive reports whether a file is a tar archive, compressed or not: whether it begins with a valid header, whatever
// it is called.
func isArchive(r io.Reader) bool {
	plain, done, err := decompress(r)
	if err != nil {
		return false
	}
	defer done()
	_, err = tar.NewReader(plain).Next()
	return err == nil
}
