package partial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Annotations of a layer's descriptor that say where its blob has the table and the records: offset, length, length
// uncompressed, and for the table its kind. See containers-storage-zstd-chunked(5).
const (
	tablePosition   = "io.github.containers.zstd-chunked.manifest-position"
	recordsPosition = "io.github.containers.zstd-chunked.tarsplit-position"
	tableKind       = 1
)

// What a blob may ask for; more is fetched whole. Sizes are in bytes.
const (
	maxPacked = 16 << 20
	maxTable  = 64 << 20
	maxEntry  = 4 << 20
	maxFiles  = 1 << 18
	maxWindow = 8 << 20
)

// A Source gives parts of blobs.
type Source interface {
	// FetchPart opens length bytes of a blob from an offset on. The caller closes it.
	FetchPart(ctx context.Context, d ocispec.Descriptor, offset, length int64) (io.ReadCloser, error)
}

// ErrWhole says that a blob has to be fetched whole, or better is.
var ErrWhole = errors.New("the blob is better fetched whole")

// span is a part of a blob: the bytes from one offset to another.
type span struct{ from, to int64 }

func (s span) length() int64 { return s.to - s.from }

// Possible tells whether a blob says that it has a table and records.
func Possible(d ocispec.Descriptor) bool {
	return d.Annotations[tablePosition] != "" && d.Annotations[recordsPosition] != ""
}

// position reads an annotation.
func position(d ocispec.Descriptor, key string, kinds ...int64) (span, error) {
	fields := strings.Split(d.Annotations[key], ":")
	if len(fields) != 3+len(kinds) {
		return span{}, ErrWhole
	}
	var n [4]int64
	for i, text := range fields {
		var err error
		if n[i], err = strconv.ParseInt(text, 10, 64); err != nil || n[i] < 0 {
			return span{}, ErrWhole
		}
	}
	if n[1] > maxPacked || n[0] > d.Size || n[1] > d.Size-n[0] || len(kinds) > 0 && n[3] != kinds[0] {
		return span{}, ErrWhole
	}
	return span{n[0], n[0] + n[1]}, nil
}

// blobFile is where a blob has the data of a file: whole frames of zstd.
type blobFile struct {
	name string
	size int64
	span
}

// table is what a blob says of its files that have data, in the order of the archive, and its records, compressed.
type table struct {
	at      span // of both
	files   []blobFile
	records []byte
}

// readTable fetches the table and the records of a blob.
func readTable(ctx context.Context, src Source, d ocispec.Descriptor) (table, error) {
	at, err := position(d, tablePosition, tableKind)
	if err != nil {
		return table{}, err
	}
	records, err := position(d, recordsPosition)
	if err != nil {
		return table{}, err
	}
	both := span{min(at.from, records.from), max(at.to, records.to)}
	if both.length() > at.length()+records.length()+maxGap {
		return table{}, ErrWhole
	}
	text, err := fetch(ctx, src, d, both)
	if err != nil {
		return table{}, err
	}
	t := table{at: both, records: text[records.from-both.from : records.to-both.from]}
	t.files, err = parseTable(text[at.from-both.from:at.to-both.from], min(at.from, records.from))
	return t, err
}

// fetch reads a part of a blob.
func fetch(ctx context.Context, src Source, d ocispec.Descriptor, s span) (_ []byte, err error) {
	rc, err := src.FetchPart(ctx, d, s.from, s.length())
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rc.Close()) }()
	text := make([]byte, s.length())
	_, err = io.ReadFull(rc, text)
	return text, err
}

// parseTable reads a table. All files lie one after the other before end.
func parseTable(packed []byte, end int64) (files []blobFile, err error) {
	z, err := decoder(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	from := &frugal{from: io.LimitReader(z, maxTable)}
	dec := json.NewDecoder(from)
	from.next()
	for {
		word, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read table of a blob: %w", err)
		}
		if word == "entries" {
			break
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, fmt.Errorf("read table of a blob: %w", err)
	}
	last := int64(0)
	for from.next(); dec.More(); from.next() {
		var e struct {
			Type      string `json:"type"`
			Name      string `json:"name"`
			Size      int64  `json:"size"`
			Offset    int64  `json:"offset"`
			EndOffset int64  `json:"endOffset"`
		}
		if err := dec.Decode(&e); err != nil {
			return nil, fmt.Errorf("read table of a blob: %w", err)
		}
		if e.Type != "reg" || e.Size == 0 {
			continue
		}
		if e.Offset < last || e.EndOffset <= e.Offset || e.EndOffset > end || len(files) == maxFiles {
			return nil, ErrWhole
		}
		last = e.EndOffset
		files = append(files, blobFile{e.Name, e.Size, span{e.Offset, e.EndOffset}})
	}
	return files, nil
}

// frugal ends what is read of one entry before it fills the memory: a decoder of JSON keeps all of an entry, and goes
// through spaces before it again and again.
type frugal struct {
	from io.Reader
	left int
}

// next allows another entry.
func (f *frugal) next() { f.left = maxEntry }

// Read implements io.Reader.
func (f *frugal) Read(p []byte) (int, error) {
	if f.left <= 0 {
		return 0, errors.New("it has an entry that is too long")
	}
	n, err := f.from.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// decoder decompresses in bounded memory.
func decoder(r io.Reader) (*zstd.Decoder, error) {
	return zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderConcurrency(1))
}
